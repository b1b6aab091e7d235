# SPDX-License-Identifier: GPL-2.0-only
"""Spreading the vectors of a device over the CPUs (kernel/irq/affinity.c, v5.10).

All CPUs are present, so the kernel's second round, over those that are not, has nothing to do.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from impl.kernel.cpumask import cpumask_first
from impl.kernel.irq.irq import IrqAffinityDesc
from impl.kernel.kernel import Kernel

__all__ = ["IrqAffinity", "irq_calc_affinity_vectors", "irq_create_affinity_masks"]


@dataclass(frozen=True, slots=True)
class IrqAffinity:
    """How many of a device's first and last vectors are not spread (struct irq_affinity)."""

    pre_vectors: int = 0
    post_vectors: int = 0


def irq_create_affinity_masks(
    kernel: Kernel, nvecs: int, affd: IrqAffinity
) -> list[IrqAffinityDesc] | None:
    """A mask for each of `nvecs` vectors; None if there is nothing to spread (trap 43).

    The vectors between the first and the last ones are managed.
    """
    affvecs = nvecs - affd.pre_vectors - affd.post_vectors
    if affvecs <= 0:
        return None
    default = IrqAffinityDesc(kernel.irq_default_affinity, False)
    spread = [IrqAffinityDesc(mask, True) for mask in _irq_build_affinity_masks(kernel, affvecs)]
    return [default] * affd.pre_vectors + spread + [default] * affd.post_vectors


def irq_calc_affinity_vectors(kernel: Kernel, minvec: int, maxvec: int, affd: IrqAffinity) -> int:
    """How many of `maxvec` vectors are of use: one for each CPU beside those that are not spread.

    0 if the latter alone exceed `minvec`.
    """
    resv = affd.pre_vectors + affd.post_vectors
    if resv > minvec:
        return 0
    return resv + min(kernel.nr_cpu_ids, maxvec - resv)


def _irq_build_affinity_masks(kernel: Kernel, numvecs: int) -> list[int]:
    """A mask for each vector: whole nodes if they outnumber the vectors, else parts of nodes."""
    nodes = sorted(kernel.node_masks.items())
    masks = [0] * numvecs
    if numvecs <= len(nodes):
        for k, (_, node_mask) in enumerate(nodes):
            masks[k % numvecs] |= node_mask
        return masks
    curvec = 0
    for node_mask, nvectors in _alloc_nodes_vectors([mask for _, mask in nodes], numvecs):
        for part in _irq_spread(node_mask, nvectors):
            masks[curvec] = part
            curvec += 1
    return masks


def _alloc_nodes_vectors(node_masks: list[int], numvecs: int) -> Iterator[tuple[int, int]]:
    """Each node with its share of the vectors, small nodes first: at least one, in proportion.

    Nodes of equal size keep their order, which the kernel's sort does not promise.
    """
    remaining_ncpus = sum(mask.bit_count() for mask in node_masks)
    numvecs = min(numvecs, remaining_ncpus)
    for mask in sorted(node_masks, key=int.bit_count):
        ncpus = mask.bit_count()
        nvectors = max(1, numvecs * ncpus // remaining_ncpus)
        yield mask, nvectors
        remaining_ncpus -= ncpus
        numvecs -= nvectors


def _irq_spread(node_mask: int, nvectors: int) -> Iterator[int]:
    """Deal the CPUs of a node out, in order; the first vectors get what a division leaves."""
    cpus_per_vec, extra_vecs = divmod(node_mask.bit_count(), nvectors)
    for k in range(nvectors):
        part = 0
        for _ in range(cpus_per_vec + (k < extra_vecs)):
            cpu = 1 << cpumask_first(node_mask)
            part |= cpu
            node_mask &= ~cpu
        yield part

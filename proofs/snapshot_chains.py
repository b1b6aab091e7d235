# SPDX-License-Identifier: GPL-2.0-only
"""Rules of the domain hierarchy, for what debugfs says of irqs and domains."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from proofs.snapshot_judge import Judgement
from proofs.snapshots import Place
from proofs.snapshots_debugfs import Chain, Copy, DebugIrqs, Domain
from proofs.snapshots_view import View

__all__ = ["ROOT", "judge_chains"]

ROOT: Final = "VECTOR"
"""The domain in which every chain ends."""

_NOT_UNIQUE: Final = "AMD-IR"
"""In such a domain all MSI-X of a device have the same hwirq."""


def judge_chains(view: View, judgement: Judgement) -> None:
    """DOM-1, DOM-3, DOM-4 and INT-14."""
    debug = view.debug
    if debug is None:
        judgement.leave("DOM-1, DOM-3, DOM-4", "no file of /sys/kernel/debug/irq")
        return
    for chain in debug.chains.values():
        _chain(chain, debug, judgement)
    for domain in debug.domains.values():
        _parents(domain, debug, judgement)
        _mapcounts(domain, debug, judgement)
    _numbers(debug, judgement)


def _chain(chain: Chain, debug: DebugIrqs, judgement: Judgement) -> None:
    """Each level's domain is the parent of the level before, from a domain there is to the root.

    A chain that has gone astray is told once, at the level where it does.
    """
    expected: str | None = None
    before = ""
    for number, level in enumerate(chain.levels):
        place = level.places["domain"]
        if expected is not None:
            sentence = (
                f"level {number} of irq {chain.irq} is in {level.domain}, but the parent of"
                f" {before} is {expected or 'none'}"
            )
            if not judgement.check("DOM-1", place, level.domain == expected, sentence):
                return
        domain = debug.domains.get(level.domain)
        sentence = f"level {number} of irq {chain.irq} is in {level.domain}, a domain that is not"
        if not judgement.check("DOM-1", place, domain is not None, sentence) or domain is None:
            return
        expected, before = domain.parent, domain.name
    if chain.levels:
        sentence = f"the chain of irq {chain.irq} ends in {before}, whose parent is {expected}"
        place = chain.levels[-1].places["domain"]
        judgement.check("DOM-1", place, not expected, sentence)


def _parents(domain: Domain, debug: DebugIrqs, judgement: Judgement) -> None:
    """Domains and the copies in their files agree; the domains of VT-d stand where they must."""
    place = domain.parent_at or domain.place
    parts: list[Domain | Copy] = [domain, *domain.above]
    for child, copy in pairwise(parts):
        known = debug.domains.get(child.name)
        parent = known.parent if known else ""
        sentence = f"the parent of {child.name} is {parent or 'none'}, not {copy.name}"
        judgement.check("DOM-1", copy.place, copy.name == parent, sentence)
    sentence = f"the parent of {domain.name} is {domain.parent}, a domain that is not"
    judgement.check("DOM-1", place, domain.parent in ("", *debug.domains), sentence)
    if domain.name.startswith("INTEL-IR-MSI-") or domain.name.startswith("IR-PCI-MSI"):
        remaps = domain.parent.startswith(("INTEL-IR-", "AMD-IR-", "HYPERV-IR-"))
        sentence = f"the parent of {domain.name} is {domain.parent or 'none'}, which remaps nothing"
        judgement.check("INT-14", place, remaps, sentence)
    elif domain.name.startswith("INTEL-IR-"):
        sentence = f"the parent of {domain.name} is {domain.parent or 'none'}, not {ROOT}"
        judgement.check("INT-14", place, domain.parent == ROOT, sentence)


def _mapcounts(domain: Domain, debug: DebugIrqs, judgement: Judgement) -> None:
    """As many irqs are mapped as have a level in the domain, in its file and in every copy."""
    parts: list[Domain | Copy] = [domain, *domain.above]
    for part in parts:
        levels = sum(chain.level(part.name) is not None for chain in debug.chains.values())
        sentence = f"{part.mapped} irqs are mapped in {part.name}, but {levels} have a level there"
        judgement.check("DOM-3", part.mapped_at or part.place, part.mapped == levels, sentence)


def _numbers(debug: DebugIrqs, judgement: Judgement) -> None:
    """No two irqs have the same hwirq in a domain, or the reverse map would find only one."""
    seen: dict[tuple[str, int], tuple[int, Place]] = {}
    for chain in debug.chains.values():
        for level in chain.levels:
            if level.domain.startswith(_NOT_UNIQUE):
                continue
            place = level.places["hwirq"]
            other, there = seen.setdefault((level.domain, level.hwirq), (chain.irq, place))
            sentence = (
                f"irq {chain.irq} has hwirq {level.hwirq:#x} in {level.domain}, which is that of"
                f" irq {other} at {there}"
            )
            judgement.check("DOM-4", place, other == chain.irq, sentence)

# SPDX-License-Identifier: GPL-2.0-only
"""The PCI backend, another domain, as a paravirtualised guest's frontend sees it.

It enables and disables MSI of the guest's devices on the guest's behalf, and hands out the pirqs.
"""

import enum
import errno
from collections.abc import Sequence
from typing import NamedTuple

from impl.drivers.xen.hypervisor import DOMID_SELF, Answer, Hypervisor, Pirq, Place, Request

__all__ = ["Pciback", "PcibackReply", "XenPciErr"]


class XenPciErr(enum.IntEnum):
    """The protocol's own error numbers, which a caller may take for errnos (XEN_PCI_ERR_*)."""

    SUCCESS = 0
    DEV_NOT_FOUND = -1
    INVALID_OFFSET = -2
    ACCESS_DENIED = -3
    NOT_IMPLEMENTED = -4
    OP_FAILED = -5


class PcibackReply(NamedTuple):
    """What comes back: an error, a value whose meaning depends on the request, and pirqs."""

    err: int
    value: int
    vectors: tuple[int, ...] = ()


class Pciback:
    """The backend: `enabled` has the pirqs of each device whose MSI or MSI-X is on.

    Its requests and answers are in the hypervisor's log, and that oracle is asked.  Silence is an
    answer, too: the frontend gives up after two seconds and sees XenPciErr.DEV_NOT_FOUND.
    """

    __slots__ = ("enabled", "hypervisor")

    def __init__(self, hypervisor: Hypervisor) -> None:
        self.hypervisor = hypervisor
        self.enabled: dict[Place, tuple[int, ...]] = {}

    def enable_msi(self, place: Place) -> PcibackReply:
        """Enable one vector; the value is its pirq.  XenPciErr.OP_FAILED if it is enabled."""
        request, answer = self._ask("pci_op_enable_msi", place)
        reply = self._enable(place, [0], answer, XenPciErr.OP_FAILED)
        value = reply.vectors[0] if reply.vectors else reply.value
        return self._reply(request, reply._replace(value=value))

    def enable_msix(self, place: Place, entries: Sequence[int]) -> PcibackReply:
        """Enable a vector for each entry of the table; a value is the number that might do.

        -EALREADY if MSI-X is enabled.
        """
        request, answer = self._ask("pci_op_enable_msix", place, nvec=len(entries))
        return self._reply(request, self._enable(place, entries, answer, -errno.EALREADY))

    def disable_msi(self, place: Place) -> int:
        """Disable MSI, if it is enabled, and free the pirq."""
        return self._disable("pci_op_disable_msi", place)

    def disable_msix(self, place: Place) -> int:
        """Disable MSI-X, if it is enabled, and free the pirqs."""
        return self._disable("pci_op_disable_msix", place)

    def _ask(self, op: str, place: Place, **args: int) -> tuple[Request, Answer]:
        named = dict(zip(("segment", "bus", "devfn"), place, strict=True)) | args
        request = Request(op, tuple(named.items()))
        return request, self.hypervisor.oracle(request)

    def _reply(self, request: Request, reply: PcibackReply) -> PcibackReply:
        self.hypervisor.record(request, reply.err, (reply.value, *reply.vectors))
        return reply

    def _enable(
        self, place: Place, entries: Sequence[int], answer: Answer, already: int
    ) -> PcibackReply:
        if answer.err or answer.retry:
            return PcibackReply(answer.err, answer.retry)
        if place in self.enabled:
            return PcibackReply(already, 0)
        vectors: list[int] = []
        for entry_nr in entries:
            pirq = self.hypervisor.allocate_pirqs(DOMID_SELF, 1)
            if pirq < 0:
                self._free(vectors)
                return PcibackReply(XenPciErr.OP_FAILED, 0)
            self.hypervisor.pirqs[pirq] = Pirq(pirq, place, entry_nr)
            vectors.append(pirq)
        self.enabled[place] = tuple(vectors)
        handed = tuple(0 for _ in vectors) if answer.invalid else tuple(vectors)
        return PcibackReply(XenPciErr.SUCCESS, 0, handed)

    def _disable(self, op: str, place: Place) -> int:
        request, answer = self._ask(op, place)
        if not answer.err:
            self._free(self.enabled.pop(place, ()))
        return self._reply(request, PcibackReply(answer.err, 0)).err

    def _free(self, vectors: Sequence[int]) -> None:
        for pirq in vectors:
            del self.hypervisor.pirqs[pirq]

# SPDX-License-Identifier: GPL-2.0-only
"""The hypervisor as a guest sees it: pirqs, event channels, and the hypercalls about them.

A pirq is the hypervisor's name of an interrupt source; it may be reserved, or mapped to a message
of a device.  A guest receives it through an event channel that it binds to the pirq.

Each request is first put to an oracle, which lets the hypervisor serve it or refuses it with any
error; a request that is refused changes nothing.  All requests, those to the PCI backend included,
are kept in `log`, in order, with their answers.
"""

import enum
import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from impl.kernel.kernel import Kernel

__all__ = [
    "DOMID_SELF",
    "XENIRQSTAT_NEEDS_EOI",
    "Answer",
    "EvtchnPort",
    "Hypercall",
    "Hypervisor",
    "MapPirq",
    "MapPirqType",
    "Oracle",
    "Pirq",
    "Request",
    "serve",
]

DOMID_SELF = 0x7FF0
"""The caller's own domain."""

XENIRQSTAT_NEEDS_EOI = 1

_NR_IRQS_GSI = 24
"""Lower pirqs are those of pins."""

Place = tuple[int, int, int]
"""Segment, bus and devfn of a device."""


class MapPirqType(enum.IntEnum):
    """What a pirq is to be mapped to (MAP_PIRQ_TYPE_*)."""

    MSI = 0
    GSI = 1
    MSI_SEG = 3
    MULTI_MSI = 4


class MapPirq(NamedTuple):
    """The request of PHYSDEVOP_map_pirq, without the index and the pirq, which are always -1.

    `bus` has the segment in its upper half, except with MSI.  `entry_nr` is the entry of the MSI-X
    table, or the number of vectors with MULTI_MSI.  `table_base` is where that table is.
    """

    domid: int
    type: MapPirqType
    bus: int
    devfn: int
    entry_nr: int = 0
    table_base: int = 0


class Answer(NamedTuple):
    """What the other side says to a request: it serves it, unless `err` (negative) refuses it.

    The PCI backend alone has two more answers: it asks for `retry` vectors instead, or it does as
    told but hands out `invalid` pirqs.
    """

    err: int = 0
    retry: int = 0
    invalid: bool = False


class Request(NamedTuple):
    """A request by its name, and its arguments by theirs."""

    op: str
    args: tuple[tuple[str, int], ...]


class Hypercall(NamedTuple):
    """A request and how it was answered: 0 or an error, and what was handed out."""

    op: str
    args: tuple[tuple[str, int], ...]
    ret: int
    out: tuple[int, ...]


Oracle = Callable[[Request], Answer]


def serve(request: Request) -> Answer:
    """The oracle of a hypervisor that refuses only what it cannot do."""
    return Answer()


@dataclass(slots=True)
class Pirq:
    """A pirq that is not free: `place` is the device that it is mapped to, None if it is reserved.

    `first` is the first of the block that it was mapped with.
    """

    first: int
    place: Place | None = None
    entry_nr: int = 0


@dataclass(slots=True)
class EvtchnPort:
    """An event channel of the guest that is bound to a pirq."""

    pirq: int
    vcpu: int = 0
    masked: bool = True
    pending: bool = False


class Hypervisor:
    """What one guest, and a domain that serves devices for others, asks of Xen.

    `spaces` has the pirqs that are not free, for each domain that lives; `nr_pirqs` bounds them.
    `ports` has the guest's event channels, below `nr_ports`; port 0 is none.  `segments` says that
    the hypervisor takes PCI segments, and so blocks of vectors.
    """

    __slots__ = ("kernel", "log", "nr_pirqs", "nr_ports", "oracle", "ports", "segments", "spaces")

    def __init__(
        self,
        kernel: Kernel,
        oracle: Oracle = serve,
        *,
        pirqs: int = 256,
        ports: int = 256,
        segments: bool = True,
    ) -> None:
        self.kernel = kernel
        self.oracle = oracle
        self.nr_pirqs = _NR_IRQS_GSI + pirqs
        self.nr_ports = ports
        self.segments = segments
        self.log: list[Hypercall] = []
        self.spaces: dict[int, dict[int, Pirq]] = {DOMID_SELF: {}}
        self.ports: dict[int, EvtchnPort] = {}

    @property
    def pirqs(self) -> dict[int, Pirq]:
        """The guest's own pirqs."""
        return self.spaces[DOMID_SELF]

    # Operations on physical devices

    def physdev_map_pirq(self, request: MapPirq) -> tuple[int, int]:
        """Map a pirq, or a block of them: 0 and the first one, or an error.

        -ESRCH: no such domain.  -EINVAL: a segment, or a block, where neither is known.  -ENOSPC.
        """
        return self._call("physdev_map_pirq", lambda: self._map_pirq(request), **request._asdict())

    def physdev_unmap_pirq(self, domid: int, pirq: int) -> int:
        """Unmap the block that starts at `pirq`; -ESRCH as above, -EINVAL if there is none."""
        served = self._call(
            "physdev_unmap_pirq", lambda: self._unmap_pirq(domid, pirq), domid=domid, pirq=pirq
        )
        return served[0]

    def physdev_get_free_pirq(self, type: MapPirqType) -> tuple[int, int]:
        """Reserve a pirq: 0 and its number, or -ENOSPC."""
        return self._call("physdev_get_free_pirq", self._get_free_pirq, type=type)

    def physdev_restore_msi(self, bus: int, devfn: int) -> int:
        """Write the messages of a device of segment 0 again."""
        return self._call("physdev_restore_msi", _done, bus=bus, devfn=devfn)[0]

    def physdev_restore_msi_ext(self, segment: int, bus: int, devfn: int) -> int:
        """Write the messages of a device again; -ENOSYS where segments are not known."""
        return self._call(
            "physdev_restore_msi_ext",
            lambda: (0 if self.segments else -errno.ENOSYS, 0),
            segment=segment,
            bus=bus,
            devfn=devfn,
        )[0]

    def physdev_eoi(self, pirq: int) -> int:
        """End an interrupt."""
        return self._call("physdev_eoi", _done, pirq=pirq)[0]

    def physdev_irq_status_query(self, pirq: int) -> tuple[int, int]:
        """0 and flags of the pirq: Xen wants every interrupt ended (XENIRQSTAT_NEEDS_EOI)."""
        return self._call("physdev_irq_status_query", lambda: (0, XENIRQSTAT_NEEDS_EOI), pirq=pirq)

    # Event channels

    def evtchn_bind_pirq(self, pirq: int, flags: int) -> tuple[int, int]:
        """Bind an event channel to a pirq: 0 and its port, masked.

        -EINVAL: the pirq is free.  -EEXIST: it has a channel.  -ENOSPC.
        """
        return self._call("evtchn_bind_pirq", lambda: self._bind_pirq(pirq), pirq=pirq, flags=flags)

    def evtchn_close(self, port: int) -> int:
        """Close an event channel; -EINVAL if it is not open."""
        return self._call("evtchn_close", lambda: self._close(port), port=port)[0]

    def evtchn_bind_vcpu(self, port: int, vcpu: int) -> int:
        """Let an event channel notify `vcpu`; -EINVAL if it is not open."""
        return self._call(
            "evtchn_bind_vcpu", lambda: self._bind_vcpu(port, vcpu), port=port, vcpu=vcpu
        )[0]

    # What happens beyond the guest

    def signal_pirq(self, pirq: int) -> bool:
        """The source of a pirq signals; False if the signal is lost for want of a channel."""
        for port in self.ports.values():
            if port.pirq == pirq:
                port.pending = True
                return True
        return False

    def release_pirq(self, pirq: int) -> None:
        """The device model has seen a fully virtualised guest disable the MSI behind `pirq`."""
        self.pirqs.pop(pirq, None)

    def create_domain(self, domid: int) -> None:
        """A further domain starts to live, to which devices can be given."""
        self.spaces.setdefault(domid, {})

    def destroy_domain(self, domid: int) -> None:
        """A domain dies, and its pirqs with it."""
        self.spaces.pop(domid, None)

    def allocate_pirqs(self, domid: int, nr: int) -> int:
        """The first of `nr` free pirqs in a row, as high as possible; -ENOSPC, -ESRCH."""
        space = self.spaces.get(domid)
        if space is None:
            return -errno.ESRCH
        found = 0
        for pirq in range(self.nr_pirqs - 1, _NR_IRQS_GSI - 1, -1):
            found = 0 if pirq in space else found + 1
            if found == nr:
                return pirq
        return -errno.ENOSPC

    def record(self, request: Request, ret: int, out: tuple[int, ...]) -> None:
        """Keep a request and its answer, and tell who listens."""
        self.log.append(Hypercall(*request, ret, out))
        kernel = self.kernel
        if kernel.trace.enabled:
            value = out[0] if out else 0
            kernel.trace.emit(
                "xen", request.op, kernel.this_cpu, **dict(request.args), ret=ret, value=value
            )

    def _call(
        self, op: str, operate: Callable[[], tuple[int, int]], **args: int
    ) -> tuple[int, int]:
        request = Request(op, tuple(args.items()))
        answer = self.oracle(request)
        ret, value = (answer.err, 0) if answer.err else operate()
        self.record(request, ret, (value,))
        return ret, value

    def _map_pirq(self, request: MapPirq) -> tuple[int, int]:
        if request.type != MapPirqType.MSI and not self.segments:
            return -errno.EINVAL, 0
        nr = request.entry_nr if request.type == MapPirqType.MULTI_MSI else 1
        first = self.allocate_pirqs(request.domid, nr)
        if first < 0:
            return first, 0
        place = request.bus >> 16, request.bus & 0xFFFF, request.devfn
        for k in range(nr):
            entry_nr = k if request.type == MapPirqType.MULTI_MSI else request.entry_nr
            self.spaces[request.domid][first + k] = Pirq(first, place, entry_nr)
        return 0, first

    def _unmap_pirq(self, domid: int, pirq: int) -> tuple[int, int]:
        space = self.spaces.get(domid)
        if space is None:
            return -errno.ESRCH, 0
        block = [nr for nr, each in space.items() if each.first == pirq]
        if pirq not in block:
            return -errno.EINVAL, 0
        for nr in block:
            del space[nr]
        return 0, 0

    def _get_free_pirq(self) -> tuple[int, int]:
        pirq = self.allocate_pirqs(DOMID_SELF, 1)
        if pirq < 0:
            return pirq, 0
        self.pirqs[pirq] = Pirq(pirq)
        return 0, pirq

    def _bind_pirq(self, pirq: int) -> tuple[int, int]:
        if pirq not in self.pirqs:
            return -errno.EINVAL, 0
        if any(each.pirq == pirq for each in self.ports.values()):
            return -errno.EEXIST, 0
        free = [port for port in range(1, self.nr_ports) if port not in self.ports]
        if not free:
            return -errno.ENOSPC, 0
        self.ports[free[0]] = EvtchnPort(pirq)
        return 0, free[0]

    def _close(self, port: int) -> tuple[int, int]:
        return (0 if self.ports.pop(port, None) else -errno.EINVAL), 0

    def _bind_vcpu(self, port: int, vcpu: int) -> tuple[int, int]:
        if port not in self.ports:
            return -errno.EINVAL, 0
        self.ports[port].vcpu = vcpu
        return 0, 0


def _done() -> tuple[int, int]:
    return 0, 0

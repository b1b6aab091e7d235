# SPDX-License-Identifier: GPL-2.0-only
"""The parts of a machine description that make it one of a platform of its own.

Interrupt remapping of Intel is told with the [[dmar]] units, see impl.machine_parts.  A requester
is written "BB:DD.F".  A key that a class has no default for must be there.
"""

from dataclasses import dataclass

__all__ = [
    "AmdIommuDescription",
    "HypervBusDescription",
    "ImsDescription",
    "PlatformDeviceDescription",
    "RemappingDescription",
    "VmdDescription",
    "XenDescription",
]


@dataclass(frozen=True, slots=True)
class RemappingDescription:
    """[remapping]: how interrupt remapping is used.

    `intremap` is the command line's option, such as "off" or "nosid,nopost".  `x2apic_optout` is
    the wish of an Intel machine's firmware that the x2APIC be not used.  `guest_ir` is the most
    that AMD's entries may do: "legacy" (32 bits), "legacy_ga" (128 bits) or "vapic" (guest mode).

    `probe` says when the driver of the units meets the PCI devices: "after" they were enumerated,
    as at every boot, "before" that, so that it meets each one when it appears, or "never", as AMD's
    does when DMA remapping is off.
    """

    intremap: str = ""
    x2apic_optout: bool = False
    guest_ir: str = "vapic"
    probe: str = "after"


@dataclass(frozen=True, slots=True)
class AmdIommuDescription:
    """[[amd_iommu]]: a unit and the requesters it serves, from `first` ("00:00.0") to `last`
    ("ff:1f.7").

    `aliases` lists "05:01.0 = 05:00.0": by the firmware's table requests of the first device appear
    under the id of the second.
    """

    id: int
    first: int = 0
    last: int = 0xFFFF
    aliases: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class VmdDescription:
    """[[vmd]]: the device `name` is a VMD endpoint, which makes `segment` out of what is behind it.

    The segment is above every segment of firmware's, the root bus is `bus` of it.
    """

    name: str
    segment: int
    bus: int = 0


@dataclass(frozen=True, slots=True)
class HypervBusDescription:
    """[[hyperv_bus]]: a virtual root bus, bus 0 of `segment`; the host speaks `protocol`."""

    segment: int
    protocol: str = "1.2"


@dataclass(frozen=True, slots=True)
class ImsDescription:
    """[[ims]]: the device `name` stores messages of its own for `subdevices` subdevices.

    `storage` is an "array" of `slots` in the device, or "queue": as many images for each subdevice
    in system memory.
    """

    name: str
    slots: int
    subdevices: int = 1
    storage: str = "array"


@dataclass(frozen=True, slots=True)
class PlatformDeviceDescription:
    """[[platform_device]]: a device on no bus that signals by up to 2048 messages, near `node`."""

    name: str
    node: int = -1


@dataclass(frozen=True, slots=True)
class XenDescription:
    """[xen]: the guest's `type` ("pv", "hvm" or "pvh"), is it the `initial` domain, and what the
    hypervisor offers.

    Fully virtualised guests: `hvm_pirqs` is the feature of that name, `vector_callback` the
    delivery of events by a vector; `x2apic_virt` and `apic_virt` say that hardware virtualises the
    APIC in either mode.  `pirqs` is how many pirqs there are for messages, `ports` how many event
    channels; `segments` says that mapping a pirq takes a PCI segment.
    """

    type: str
    initial: bool = False
    hvm_pirqs: bool = True
    vector_callback: bool = True
    x2apic_virt: bool = False
    apic_virt: bool = False
    pirqs: int = 256
    ports: int = 256
    segments: bool = True

# SPDX-License-Identifier: GPL-2.0-only
"""What concerns each machine of impl/machines: the layers it is made of, and what drives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from proofs.options import BadOptionError

__all__ = ["MACHINE_TABLE", "Concern", "check_names", "layers_of", "programs_of"]


@dataclass(frozen=True)
class Concern:
    """The layers of the specification that a machine is made of, and the small whole machines of
    its platform, by name, on which random programs run."""

    layers: tuple[str, ...]
    programs: tuple[str, ...]


_NATIVE: Final = ("vectors", "hierarchy", "msi", "ioapic", "devices", "routing", "stack")
_REMAPPED: Final = ("vectors", "hierarchy", "msi", "ioapic", "devices", "routing", "remapping")
_VT_D: Final = (*_REMAPPED, "intel_ir")
_XEN: Final = ("hierarchy", "msi", "routing", "xen", "guest")
"""A paravirtual guest has no vectors, but event channels."""

MACHINE_TABLE: Final[Mapping[str, Concern]] = {
    "amd-vi": Concern((*_REMAPPED, "amd_ir"), ("amd-vi", "amd-vi-early")),
    "bare-metal": Concern(_NATIVE, ("small",)),
    "device-msi": Concern((*_VT_D, "platform_msi", "ims", "ims_queue"), ("device-msi",)),
    "hpet-dmar": Concern(_NATIVE, ("small",)),
    "hyperv": Concern((*_REMAPPED, "hyperv"), ("hyper-v",)),
    "large-server": Concern(_NATIVE, ("small",)),
    "numa": Concern(_NATIVE, ("small", "hubs")),
    "small": Concern(_NATIVE, ("small",)),
    "uv": Concern((*_NATIVE, "uv"), ("hubs",)),
    "vmd": Concern((*_VT_D, "vmd"), ("vmd",)),
    "vtd": Concern(_VT_D, ("vtd", "vtd-early")),
    "xen-dom0": Concern((*_XEN, "vmd"), ("xen-dom0",)),
    "xen-domu": Concern(_XEN, ("xen-domu",)),
    "xen-hvm": Concern(("vectors", "ioapic", *_XEN), ("xen-hvm",)),
    "xen-pvh": Concern(("vectors", "ioapic", *_XEN), ("xen-pvh",)),
}
"""By the name of the description."""


def check_names(names: Iterable[str]) -> None:
    """Raises BadOptionError for a name that no machine has."""
    for name in names:
        if name not in MACHINE_TABLE:
            known = ", ".join(MACHINE_TABLE)
            raise BadOptionError(f"there is no machine {name!r}; there are {known}")


def layers_of(names: Iterable[str]) -> frozenset[str]:
    """The layers that some of these machines are made of; BadOptionError for an unknown one."""
    names = tuple(names)
    check_names(names)
    return frozenset(layer for name in names for layer in MACHINE_TABLE[name].layers)


def programs_of(names: Iterable[str]) -> tuple[str, ...]:
    """The whole machines on which random programs for these run, each once; all of them if no name
    is given. BadOptionError for an unknown name."""
    chosen = tuple(names) or tuple(MACHINE_TABLE)
    check_names(chosen)
    return tuple(dict.fromkeys(p for name in chosen for p in MACHINE_TABLE[name].programs))

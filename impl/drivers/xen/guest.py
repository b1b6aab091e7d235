# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel can learn of the hypervisor that it runs on (include/xen/xen.h, v5.10)."""

import enum
from dataclasses import dataclass

__all__ = [
    "XEN_HVM_CPUID_APIC_ACCESS_VIRT",
    "XEN_HVM_CPUID_X2APIC_VIRT",
    "XenDomainType",
    "XenGuest",
]

XEN_HVM_CPUID_APIC_ACCESS_VIRT = 1 << 0
XEN_HVM_CPUID_X2APIC_VIRT = 1 << 1


class XenDomainType(enum.IntEnum):
    """How far a guest is virtualised (enum xen_domain_type)."""

    NATIVE = 0
    PV = 1
    HVM = 2


@dataclass(frozen=True, slots=True)
class XenGuest:
    """A guest: its type, and independently of that, whether it is the `initial` domain.

    `pvh` marks a fully virtualised guest without emulated devices.  `have_vector_callback` says
    that events can arrive by a vector of their own, `hvm_pirqs` is the feature XENFEAT_hvm_pirqs.
    `hvm_cpuid_eax` has the XEN_HVM_CPUID_* bits of the hypervisor's fifth leaf.
    """

    domain_type: XenDomainType = XenDomainType.NATIVE
    initial: bool = False
    pvh: bool = False
    have_vector_callback: bool = True
    hvm_pirqs: bool = False
    hvm_cpuid_eax: int = 0

    @property
    def xen_domain(self) -> bool:
        """Whether there is a hypervisor."""
        return self.domain_type is not XenDomainType.NATIVE

    @property
    def xen_pv_domain(self) -> bool:
        """Whether the guest is paravirtualised."""
        return self.domain_type is XenDomainType.PV

    @property
    def xen_hvm_domain(self) -> bool:
        """Whether the guest is fully virtualised, PVH or not."""
        return self.domain_type is XenDomainType.HVM

    @property
    def xen_initial_domain(self) -> bool:
        """Whether the guest is the one that the hypervisor starts first, of either type."""
        return self.xen_domain and self.initial

# SPDX-License-Identifier: GPL-2.0-only
"""Historic defects of the interrupt stack, as switches.

A machine is built with a set of these.  The empty set is the repaired stack; each member brings one
v5.10 behaviour back.  Situations that the environment alone enters (a CPU that leaves while an
idle interrupt owns a vector there, a managed mask changed by a driver, a full target CPU) are not
defects of a function and have no switch.
"""

import enum

__all__ = ["Defect"]


class Defect(enum.Enum):
    """A v5.10 behaviour that later kernels, or this project, repaired; off unless asked for."""

    H1 = "H1"
    """A move whose old CPU went away is forgotten, so the old CPU's bit stays allocated for ever.

    Off: the completion frees the bit (as in 6.1), and the take-down walk completes every move that
    involves the outgoing CPU before it looks for a reason to skip the interrupt (as in 6.12)."""

    H4 = "H4"
    """A managed interrupt may be moved again while the clean-up of its last move is outstanding.

    Off: assign_managed_vector answers -EBUSY while a move is pending."""

    H5 = "H5"
    """The legacy take-over of the PIC cascade frees a bit that the matrix never handed out.

    Off: x86_vector_alloc_irqs refuses the cascade with -EINVAL."""

    H6 = "H6"
    """Activating a fixed interrupt reports success although no vector was found.

    Off: x86_vector_activate returns the error."""

    H9 = "H9"
    """An activation that finds the vector in place keeps a stale effective affinity.

    It was stored when the affinity of the inactive interrupt changed; if it lacks the CPU that the
    interrupt stays on, the take-down of that CPU leaves the interrupt behind.

    Off: the effective affinity becomes the CPU of the vector."""

    MX_D1 = "MX-D1"
    """Managed (un)reservation does not touch `available` of an initialized CPU that is offline.

    Off: that CPU's `available` follows; global_available, which excludes offline CPUs, does not."""

    MX_D2 = "MX-D2"
    """A free on an offline map leaves total_allocated too high for ever.

    Off: irq_matrix_free always decrements total_allocated."""

    MX_D3 = "MX-D3"
    """Freeing a clear bit still runs every counter update.

    Off: it warns and changes nothing."""

    MX_D4 = "MX-D4"
    """assign_system accepts the bit just behind the bitmap.

    Off: a bit at or beyond matrix_bits is a BUG."""

    N1 = "N1"
    """DMAR allocation does not set the hwirq, so every unit asks for hwirq 0.

    Off: the hwirq is the unit's id."""

    N2 = "N2"
    """The DMAR and HPET domains do not ask for the default operations, so get_hwirq is missing.

    Off: their infos carry MSI_FLAG_USE_DEF_DOM_OPS."""

    N3 = "N3"
    """The default PCI/MSI domain is created before the platform's PCI code could override it.

    Off: it is created after x86_init.pci.arch_init."""

    N4 = "N4"
    """The declarations of the arch fallbacks test a configuration symbol that does not exist.

    Off: they test CONFIG_PCI_MSI_ARCH_FALLBACKS, the one that is selected."""

    N5 = "N5"
    """A message is composed by the last chip of the hierarchy that can, not by the first.

    Off: by the first, so that a remapping chip wins over the local APIC's."""

    N6 = "N6"
    """The reservation check does not know the VMD bus token.

    Off: a VMD domain reserves as a PCI/MSI domain does."""

    N7 = "N7"
    """The rollback of msi_domain_alloc skips the first interrupt.

    Off: msi_free is called once for each successful msi_init."""

    N8 = "N8"
    """Early activation treats only the first interrupt of a multi-MSI block.

    Off: all of a descriptor's interrupts are activated, or marked, alike."""

    N11 = "N11"
    """The node is tried before the affinity when a vector is searched.

    Off: the affinity mask comes before the node mask."""

    N12 = "N12"
    """The PCI segment is shifted in 32 bits when the hwirq of a PCI/MSI interrupt is made.

    Off: it is widened to irq_hw_number_t first."""

    N13 = "N13"
    """Deactivating a UV interrupt programs its MMR unmasked.

    Off: the MMR is masked."""

    N14 = "N14"
    """The reservation check does not look at pci_msi_ignore_mask.

    Off: nothing is reserved where nothing can be masked."""

    N16 = "N16"
    """An affinity change reaches the chip of an inactive interrupt (hypothetical).

    Off: genirq stores it, and apic_set_affinity answers -EIO."""

    N17 = "N17"
    """The MSI core frees interrupts that are still activated.

    Off: they are deactivated first."""

    # VMD

    VMD_PARENT = "VMD-03"
    """The VMD domain lies on top of the vector domain, so that children take vectors for nothing.

    Off: it has no parent."""

    VMD_TOKEN = "VMD-24"
    """The VMD domain keeps the PCI/MSI bus token, so that remapping takes its children away.

    Off: its token is VMD_MSI."""

    VMD_ALIAS = "VMD-7"
    """A VMD asks for more vectors than the address of a child's message can tell apart.

    Off: it asks for 256 at most."""

    VMD_BYPASS_DOMAIN = "VMD-bypass-domain"
    """Children of a VMD that does not remap get the native domain, also behind a remapping unit.

    Off: they get the domain of the VMD before they are enumerated."""

    VMD_REQUESTER = "VMD-requester"
    """A VT-d entry for a child of a VMD that does not remap names the child as the requester.

    Off: it names the VMD, under whose id the child's writes appear."""

    VMD_BYPASS_XEN = "VMD-bypass-xen"
    """A VMD does not remap under Xen either, whose hypervisor does not know its segment.

    Off: it remaps there."""

    # Platform MSI

    PLT_OPS = "PLT-2"
    """x86 does not compile the default set_desc, so that all interrupts ask for hwirq 0.

    Off: a platform domain makes hwirqs of the devid and the index."""

    PLT_INDEX = "PLT-index"
    """Indices of a device domain grow for ever, into numbers of other devices and round again.

    Off: the lowest free one below 2048 is taken, and -ENOSPC is returned if there is none."""

    PLT_ROLLBACK = "PLT-5"
    """An allocation that fails in the middle keeps the interrupts that it has made.

    Off: they are freed before their descriptors."""

    PLT_FREE = "PLT-6"
    """The private data of a device is freed before its interrupts, which may still write messages.

    Off: it is freed last."""

    PLT_ACK = "PLT-7"
    """The chip of a platform domain has no irq_ack unless its owner brings one (before V2 #41).

    Off: the parent's is called."""

    # Device MSI and IMS, as posted

    DEV_D1 = "DEV-D1"
    """The code of the message stores depends on an option that does not exist.

    Off: it is compiled."""

    DEV_D2 = "DEV-D2"
    """Nobody sets the hwirq of a device MSI, so that a domain has room for one interrupt.

    Off: set_desc takes it from the descriptor."""

    DEV_D3 = "DEV-D3"
    """An allocation that fails in the middle keeps its slots, and the interrupts made before.

    Off: all of them are given back."""

    DEV_D4 = "DEV-D4"
    """Interrupt remapping does not know the type of a device MSI, and refuses it (see INT-type).

    Off: an entry is for the function that the subdevice is a part of."""

    DEV_D5 = "DEV-D5"
    """A PCI device whose messages no parent composes may have a device MSI domain all the same.

    Off: there is no domain for it."""

    DEV_D6 = "DEV-D6"
    """Two allocations at the same time may find the same slot free.

    Off: the slot that was found is claimed by a test-and-set."""

    DEV_D7 = "DEV-D7"
    """A slot is reset to 0 altogether, which unmasks it, and a fresh one is taken as it is.

    Off: a free slot and a fresh one are masked."""

    DEV_D8 = "DEV-D8"
    """Writes to a slot may still be on their way when the kernel goes on.

    Off: a read flushes them."""

    DEV_D9 = "DEV-D9"
    """The hwirq of a device MSI has 16 bits, which drops the device from that of a queue.

    Off: it has 32 bits."""

    DEV_D10 = "DEV-D10"
    """A second allocation of a device gives its old descriptors new interrupts; any count is taken.

    Off: -EBUSY, and -EINVAL for a count below 1."""

    DEV_42 = "DEV-42"
    """An affinity change does not take the bus lock of the chip (before V2 #42).

    Off: it does."""

    DEV_EARLY = "DEV-early"
    """Early activation, and the deactivation before a free, do not take the bus lock of the chip.

    Off: they do."""

    # VT-d

    F2 = "F2"
    """A virtual function keeps the default domain although its unit remaps interrupts.

    Its messages have the compatibility format, which the unit blocks.

    Off: it gets the domain of its physical function when it is added."""

    F21 = "F21"
    """A unit whose set-up fails late keeps both domains, with pointers to them.

    Off: they are removed."""

    INT_10 = "INT-10"
    """A block of table entries stays taken if its first interrupt cannot be set up.

    Off: it is given back."""

    INT_NULL = "INT-null"
    """The target of an interrupt is looked up before it is known that the interrupt has a level.

    Off: the allocation fails with -EINVAL."""

    INT_SCAN = "INT-scan"
    """The look through the devices at boot ends at the first one that no unit could name.

    Off: that device is left out."""

    INT_TYPE = "INT-type"
    """A unit finds out that it does not know the kind of a requester when all else is allocated.

    Then the machine stops.

    Off: the allocation fails with -EINVAL before anything is taken."""

    # Xen

    F13 = "F13"
    """The kernel masks a fully virtualised guest's MSIs although the hypervisor owns the masks.

    Off: pci_msi_ignore_mask is set there, as in paravirtualised guests."""

    F15 = "F15"
    """The teardown of a Xen guest's MSIs leaves the irq in their descriptors.

    Off: it is cleared, so that nobody takes the descriptors for served."""

    R1 = "R1"
    """The choice of the MSI functions asks for the initial domain before the kind of guest.

    Off: it asks for the kind first, as an initial domain may be fully virtualised."""

    XEN_LEAK = "XEN-leak"
    """An initial domain that cannot bind the pirq it has just mapped leaves it mapped.

    Off: the pirq is unmapped again."""

    XEN_STALE_PIRQ = "XEN-stale-pirq"
    """A fully virtualised guest uses the pirq again that the message in a device still names.

    The device model gave it back when MSI was disabled, so it may be another device's by now.

    Off: every setup reserves a pirq."""

    XEN_UNMAP = "XEN-unmap"
    """An interrupt whose pirq the hypervisor does not unmap is kept, though nobody knows it again.

    Off: only the pirq stays, and the interrupt is freed."""

    # AMD-Vi

    AMD_01 = "AMD-01"
    """The target of an interrupt is looked up before anybody knows that it has a level (V2 #01).

    Off: without a level the allocation fails with -EINVAL, and nothing remains."""

    AMD_ALIAS = "AMD-alias"
    """A new table takes the place of the one that a neighbour uses under a common alias.

    Off: the device shares the table of any of its aliases."""

    AMD_DTE = "AMD-DTE"
    """Device table entries announce 256 of a table's 512 entries, so that the others are blocked.

    Off: they announce all of them."""

    AMD_COPY = "AMD-copy"
    """An allocation that fails in the middle keeps the copies of table entries that it has made.

    Off: they are freed with what they belong to."""

    F5 = "F5"
    """The domains of AMD-Vi units exist, and are parents, although interrupts are not remapped.

    Off: a parent is answered only while remapping is on."""

    # Hyper-V

    HV_PREPARE = "HV-prepare"
    """Blocks of vectors are to be contiguous, which the vector domain refuses.

    Off: the host remaps, so that they need not be."""

    HV_COMPOSE = "HV-compose"
    """The host is asked for a mapping for each vector of a block, not once for the block.

    Off: the first vector asks for all, and the others have the numbers behind it."""

    HV_UNMASK = "HV-unmask"
    """The host is told to retarget by the message in the device, which is the first vector's.

    Off: by the message of the vector itself."""

    HV_REUSE = "HV-reuse"
    """A message is asked for once, also where the host must learn the new target: MSI-X, one MSI.

    Off: only blocks keep theirs."""

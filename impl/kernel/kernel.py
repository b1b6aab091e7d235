# SPDX-License-Identifier: GPL-2.0-only
"""What every part of the core kernel can reach: CPUs, nodes, tracing, warnings, memory.

The kernel keeps these in globals; here they are one object that each subsystem holds, so that
many machines can live in one process.
"""

from collections.abc import Sequence

from impl.defects import Defect
from impl.trace import Trace

__all__ = ["ALLOCATION_SITES", "NUMA_NO_NODE", "Kernel", "KernelBug"]

NUMA_NO_NODE = -1

ALLOCATION_SITES = (
    "alloc_desc",
    "alloc_apic_chip_data",
    "irq_domain_alloc_fwnode",
    "irq_domain_add",
    "irq_domain_insert_irq_data",
    "irq_domain_push_irq",
    "alloc_msi_entry",
    "msix_map_region",
    "populate_msi_sysfs",
    "hpet_create_irq_domain",
    "mp_irqdomain_create",
    "alloc_mp_chip_data",
    "add_pin_to_irq_node",
    "uv_domain_alloc",
    "pci_create_root_bus",
    "vmd_probe",
    "vmd_msi_init",
    "platform_msi_alloc_priv_data",
    "ims_create_msi_irq_domain",
    "xen_irq_init",
    "set_evtchn_to_irq",
    "xen_setup_msi_irqs",
    "intel_setup_irq_remapping",
    "intel_irq_remapping_alloc",
    "dmar_enable_qi",
    "dmar_alloc_pci_notify_info",
    "dmar_parse_one_drhd",
    "alloc_irq_table",
    "irq_remapping_alloc",
    "add_special_device",
    "alloc_dev_data",
    "hv_pci_probe",
    "new_pcichild_device",
    "hv_compose_msi_msg",
    "hv_irq_unmask",
)
"""Places whose memory allocation can be made to fail, named by the allocating kernel function."""


class KernelBug(Exception):
    """A BUG(): the kernel would stop here; the state is whatever was reached."""


class Kernel:
    """CPUs, their nodes, the executing CPU, the tracepoints and the memory of one machine.

    `nodes[c]` is the NUMA node of CPU c.  `housekeeping` is the mask of CPUs that keep managed
    interrupts when isolation is on (isolcpus=managed_irq), None when it is off.
    `pci_msi_ignore_mask` says that no PCI device's MSI can be masked (set under Xen).
    `nr_msi_descs` counts the MSI descriptors that were ever made, which numbers them.
    """

    __slots__ = (
        "cpu_online_mask",
        "defects",
        "failures",
        "housekeeping",
        "irq_default_affinity",
        "node_masks",
        "nodes",
        "nr_cpu_ids",
        "nr_msi_descs",
        "pci_msi_ignore_mask",
        "this_cpu",
        "trace",
    )

    def __init__(
        self,
        nr_cpu_ids: int,
        *,
        nodes: Sequence[int] | None = None,
        defects: frozenset[Defect] = frozenset(),
        housekeeping: int | None = None,
        trace: Trace | None = None,
    ) -> None:
        if nr_cpu_ids < 1:
            raise ValueError(f"a machine needs a CPU, not {nr_cpu_ids}")
        if nodes is not None and len(nodes) != nr_cpu_ids:
            raise ValueError(f"{len(nodes)} nodes given for {nr_cpu_ids} CPUs")
        self.nr_cpu_ids = nr_cpu_ids
        self.nodes = tuple(nodes) if nodes is not None else (0,) * nr_cpu_ids
        self.node_masks = {
            node: sum(1 << cpu for cpu, at in enumerate(self.nodes) if at == node)
            for node in set(self.nodes)
        }
        self.defects = defects
        self.housekeeping = housekeeping
        self.trace = trace if trace is not None else Trace()
        self.cpu_online_mask = 0
        self.this_cpu = 0
        self.irq_default_affinity = (1 << nr_cpu_ids) - 1
        self.failures: dict[str, int] = {}
        self.pci_msi_ignore_mask = False
        self.nr_msi_descs = 0

    def cpu_online(self, cpu: int) -> bool:
        """Whether `cpu` is in the online mask."""
        return bool(self.cpu_online_mask >> cpu & 1)

    def set_cpu_online(self, cpu: int, online: bool) -> None:
        """Put `cpu` into the online mask or take it out."""
        if online:
            self.cpu_online_mask |= 1 << cpu
        else:
            self.cpu_online_mask &= ~(1 << cpu)
        self.trace.emit("cpuhp", "set_cpu_online", self.this_cpu, cpu=cpu, online=int(online))

    def cpu_to_node(self, cpu: int) -> int:
        """The NUMA node of `cpu`."""
        return self.nodes[cpu]

    def cpumask_of_node(self, node: int) -> int:
        """All CPUs of `node`, online or not; empty for a node without CPUs."""
        return self.node_masks.get(node, 0)

    def kzalloc_fails(self, site: str) -> bool:
        """Count one allocation at `site`; True if it was chosen to fail (fail_next)."""
        if not self.failures:
            return False
        countdown = self.failures.get(site, 0)
        if countdown == 0:
            return False
        if countdown == 1:
            del self.failures[site]
            return True
        self.failures[site] = countdown - 1
        return False

    def warn(self) -> None:
        """A WARN(): the kernel complains and goes on."""
        self.trace.emit("printk", "WARN", self.this_cpu)

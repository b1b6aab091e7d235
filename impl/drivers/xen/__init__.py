# SPDX-License-Identifier: GPL-2.0-only
"""Xen's event channels and PCI frontend, and the hypervisor behind them (drivers/xen, v5.10).

What a Xen guest does can be followed by the events of the system "xen".  A request to the
hypervisor, or to the PCI backend, is one event, at the moment of its answer: `ret` is 0 or the
error, `value` what was handed out.

| event | fields besides `ret` and `value` | value |
| --- | --- | --- |
| physdev_map_pirq | domid, type, bus, devfn, entry_nr, table_base | first pirq |
| physdev_unmap_pirq | domid, pirq | |
| physdev_get_free_pirq | type | pirq |
| physdev_restore_msi | bus, devfn | |
| physdev_restore_msi_ext | segment, bus, devfn | |
| physdev_eoi | pirq | |
| physdev_irq_status_query | pirq | flags |
| evtchn_bind_pirq | pirq, flags | port |
| evtchn_close | port | |
| evtchn_bind_vcpu | port, vcpu | |
| pci_op_enable_msi | segment, bus, devfn | pirq |
| pci_op_enable_msix | segment, bus, devfn, nvec | 0, or the number of vectors asked for |
| pci_op_disable_msi, pci_op_disable_msix | segment, bus, devfn | |

The guest's own steps, each when it is done:

| event | fields |
| --- | --- |
| xen_setup_pci_msi | pv, initial, ignore_mask |
| xen_create_pci_msi_domain | domain |
| xen_irq_init, xen_free_irq | irq |
| xen_irq_info_pirq_setup | irq, pirq, domid, flags |
| set_evtchn_to_irq | evtchn, irq (-1: none) |
| bind_evtchn_to_cpu | evtchn, cpu |
| irq_set_msi_desc | irq, desc |
| xen_bind_pirq_msi_to_irq | desc, pirq, nvec, domid, ret (the irq, or an error) |
| xen_destroy_irq | irq, ret |
| startup_pirq | irq, evtchn (0: the hypervisor refused) |
| shutdown_pirq | irq |
| set_affinity_irq | irq, cpu |
| xen_setup_msi_irqs, xen_hvm_setup_msi_irqs, xen_initdom_setup_msi_irqs | device, nvec, msix, ret |
| xen_teardown_msi_irqs | device |
| msi_desc_clear_irq | desc |
| pci_seg_unsupported | |
| xen_initdom_restore_msi_irqs | device |
"""

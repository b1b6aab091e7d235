# SPDX-License-Identifier: GPL-2.0-only
"""Random operations on whole machines, and how to undo whatever they did."""

import errno
import random
from collections.abc import Callable
from functools import partial

from impl.drivers.pci.hyperv_host import HvRefusal
from impl.drivers.xen.hypervisor import Answer
from impl.kernel.kernel import ALLOCATION_SITES
from impl.machine import Machine
from tests.impl.machine_support import footprint

__all__ = ["ANSWERS", "RECOVERABLE", "laid_bare", "restore", "settle", "step", "teardown"]

Operations = list[Callable[[], object]]

_FATAL = ("add_pin_to_irq_node", "xen_irq_init")

RECOVERABLE = [site for site in ALLOCATION_SITES if site not in _FATAL]
"""Where the kernel survives that memory is short."""


ANSWERS = (
    Answer(err=-errno.EINVAL),
    Answer(err=-errno.ENOSYS),
    Answer(err=-errno.EPERM),
    Answer(retry=1),
    Answer(invalid=True),
)
"""What the hypervisor may say instead of yes."""


def step(m: Machine, rng: random.Random) -> None:
    """One random operation; whatever it answers is fine."""
    rng.choice(_operations(m, rng) + _platform_operations(m, rng))()


def _operations(m: Machine, rng: random.Random) -> Operations:
    name = rng.choice(list(m.topology.parts))
    irq = rng.choice(list(m.irqs.descs) or [0])
    cpu = rng.randrange(m.kernel.nr_cpu_ids)
    mask = rng.randrange(1, 1 << m.kernel.nr_cpu_ids)
    flags = rng.randrange(16)
    gsi = rng.randrange(1, 4)
    return [
        lambda: m.pci_alloc_irq_vectors(name, 1, rng.randrange(1, 5), flags),
        lambda: m.pci_free_irq_vectors(name),
        lambda: m.pci_enable_device(name),
        lambda: m.pci_disable_device(name),
        lambda: m.pci_remove_device(name),
        lambda: m.pci_add_device(name),
        lambda: m.pci_restore_msi_state(name),
        lambda: m.hpet_assign_irq(0, rng.randrange(2)),
        lambda: m.dmar_alloc_hwirq(rng.randrange(2)),
        lambda: m.request_irq(irq),
        lambda: m.request_irq(irq),
        lambda: m.free_irq(irq) if irq else 0,
        lambda: m.disable_irq(irq),
        lambda: m.enable_irq(irq),
        lambda: m.set_affinity(irq, mask),
        lambda: m.fire(irq),
        lambda: m.fire(irq),
        lambda: m.fire_gsi(gsi),
        lambda: m.cleanup_ipi(cpu),
        lambda: m.cpu_down(cpu),
        lambda: m.cpu_up(cpu),
        lambda: m.fail_next(rng.choice(RECOVERABLE)),
    ]


def _platform_operations(m: Machine, rng: random.Random) -> Operations:
    """Those that make sense on this machine."""
    irq = rng.choice(list(m.irqs.descs) or [0])
    operations: Operations = [m.sleep]
    if m.remapping is not None:
        operations += [
            partial(m.vcpu_attach, irq, rng.randrange(3), 0x80),
            partial(m.vcpu_detach, irq),
        ]
    for name in m.topology.virtfns:
        operations += [
            partial(m.pci_enable_sriov, name, rng.randrange(3)),
            partial(m.pci_disable_sriov, name),
        ]
    for vmd in m.description.vmds:
        operations += [partial(m.vmd_probe, vmd.name), partial(m.vmd_remove, vmd.name)]
    for bus in m.description.hyperv_buses:
        operations += [
            partial(m.hv_pci_probe, bus.segment),
            partial(m.hv_pci_remove, bus.segment),
            partial(m.hv_refuse_next, bus.segment, rng.choice(list(HvRefusal))),
        ]
    for ims in m.description.ims:
        number = rng.randrange(ims.subdevices)
        operations += [
            partial(m.ims_probe, ims.name),
            partial(m.ims_remove, ims.name),
            partial(m.ims_alloc_irqs, ims.name, number, rng.randrange(4)),
            partial(m.ims_free_irqs, ims.name, number),
        ]
    for name in m.platform_devices:
        operations += [
            partial(m.platform_msi_alloc_irqs, name, rng.randrange(4)),
            partial(m.platform_msi_free_irqs, name),
        ]
    if m.xen is not None:
        operations += [partial(m.xen_answer_next, rng.choice(ANSWERS))]
    return operations


def teardown(m: Machine) -> None:
    """Every driver goes but those that boot brought, and every CPU comes up."""
    m.kernel.failures.clear()
    for hbus in m.hv_buses.values():
        hbus.host.failures.clear()
    if m.xen is not None:
        m.xen.answers.pending.clear()
    for cpu in range(m.kernel.nr_cpu_ids):
        assert m.cpu_up(cpu) == 0
    for irq, desc in list(m.irqs.descs.items()):
        if desc.action and (irq or not m.description.timer):
            assert m.free_irq(irq) in (0, -errno.EBUSY)
    for ims in m.description.ims:
        for number in range(ims.subdevices):
            assert m.ims_free_irqs(ims.name, number) in (0, -errno.ENODEV)
    for name in m.platform_devices:
        assert m.platform_msi_free_irqs(name) == 0
    drivers = set(m.vmds)
    for name in list(m.pci_devs):
        if name not in drivers:
            assert m.pci_free_irq_vectors(name) == 0
        assert m.pci_disable_device(name) == 0
    for name in m.topology.virtfns:
        assert m.pci_disable_sriov(name) in (0, -errno.ENODEV)
    for part in m.description.hpets:
        for num in range(part.channels):
            assert m.hpet_free_irq(part.id, num) in (0, -errno.ENODEV)
    for irq, desc in list(m.irqs.descs.items()):
        domain = desc.irq_data.domain
        if domain is not None and domain.name == "DMAR-MSI":
            assert m.dmar_free_hwirq(irq) == 0
        elif domain is not None and domain is m.uv_hubs.domain:
            assert m.uv_teardown_irq(irq) == 0


def restore(m: Machine) -> None:
    """After teardown: devices are there or not as after boot; drivers of special ones are not."""
    for vmd in m.description.vmds:
        assert m.vmd_remove(vmd.name) in (0, -errno.ENODEV)
    for bus in m.description.hyperv_buses:
        assert m.hv_pci_remove(bus.segment) in (0, -errno.ENODEV)
    for ims in m.description.ims:
        assert m.ims_remove(ims.name) in (0, -errno.ENODEV)
    for name, part in m.topology.parts.items():
        if part.hotplug:
            assert m.pci_remove_device(name) in (0, -errno.ENODEV)
    for name, part in m.topology.parts.items():
        if not part.hotplug and not part.physfn:
            assert m.pci_add_device(name) in (0, -errno.EEXIST, -errno.ENODEV)


def laid_bare(m: Machine) -> object:
    """Let every driver go, whoever brought it, and look at what is left (VEC-18)."""
    teardown(m)
    restore(m)
    if m.description.timer:
        assert m.free_irq(0) in (0, -errno.EINVAL) and m.request_irq(0) == 0
        settle(m)
    return footprint(m)


def settle(m: Machine) -> None:
    """Bring the timer back to where it was at boot, and let every move end."""
    for target in (1, 0):
        assert m.set_affinity(0, 1 << target) == 0
        for _ in range(3):
            m.fire(0)
            for cpu in range(m.kernel.nr_cpu_ids):
                m.cleanup_ipi(cpu)

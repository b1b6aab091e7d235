# SPDX-License-Identifier: GPL-2.0-only
"""Each law of platforms is false where it is broken, and nowhere else; each step that breaks one is
noticed."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from impl.arch.x86.vector import vector_level
from impl.drivers.iommu.amd import AmdIrData, IrqRemapTable
from impl.drivers.iommu.intel_table import IntelIrData
from impl.drivers.pci.vmd_domain import VmdIrq
from impl.drivers.xen.irq_info import IrqInfo
from impl.kernel.irq.irq import IrqData, MsiMsg
from impl.machine import Machine
from proofs.driven import Operation
from proofs.hierarchy_layer import levels
from proofs.monitor import Broken
from proofs.platform_laws import PLATFORM_LAWS, concerns
from proofs.platform_machines import PLATFORMS
from proofs.platform_steps import STEP_SENTENCES
from proofs.whole_machine import HUBS, SMALL
from proofs.whole_run import WholeRun
from tests.proofs.whole_scenarios import done


def _run(machine: str, *operations: Operation) -> WholeRun:
    """The machine after these operations, of which one without an irq is about the newest."""
    run = WholeRun(PLATFORMS[machine])
    for operation in operations:
        if operation.name in ("request_irq", "vcpu_attach"):
            operation = done(operation.name, irq=_newest(run.machine))
        assert run.allows(operation), operation
        assert run.perform(operation) >= 0
        run.judge()
    return run


def _newest(machine: Machine) -> int:
    """The irq of the descriptor that was made last."""
    found = [(d.msi_desc.id, d.irq) for d in machine.irqs.descs.values() if d.msi_desc is not None]
    return max(found)[1]


def _false(run: WholeRun) -> set[str]:
    description = run.machine.description
    return {
        id
        for id, law in PLATFORM_LAWS.items()
        if concerns(description, id) and any(law.broken(run.machine))
    }


def _data(machine: Machine, cls: type) -> tuple[IrqData, object]:
    """The level of the last irq that has one of this kind, and its data."""
    found = [
        (level, level.chip_data)
        for desc in machine.irqs.descs.values()
        for level in levels(desc.irq_data)
        if isinstance(level.chip_data, cls)
    ]
    return found[-1]


def _intel(machine: Machine) -> tuple[IrqData, IntelIrData]:
    level, data = _data(machine, IntelIrData)
    assert isinstance(data, IntelIrData)
    return level, data


def _amd(machine: Machine) -> tuple[IrqData, AmdIrData]:
    level, data = _data(machine, AmdIrData)
    assert isinstance(data, AmdIrData)
    return level, data


def _child(machine: Machine) -> VmdIrq:
    _, data = _data(machine, VmdIrq)
    assert isinstance(data, VmdIrq)
    return data


def _info(machine: Machine) -> IrqInfo:
    assert machine.xen is not None
    return machine.xen.pci.xen.xen_irq_list_head[-1]


# --- VT-d -------------------------------------------------------------------------------------


def _leaked(m: Machine) -> None:
    _intel(m)[1].irq_2_iommu.iommu.table.bitmap |= 1 << 100


def _too_large(m: Machine) -> None:
    where = _intel(m)[1].irq_2_iommu
    where.irte_mask += 2
    where.iommu.table.bitmap |= 0xF << where.irte_index


def _other_member(m: Machine) -> None:
    _intel(m)[1].irq_2_iommu.sub_handle += 1


def _other_hwirq(m: Machine) -> None:
    _intel(m)[0].hwirq += 1


def _other_message(m: Machine) -> None:
    data = _intel(m)[1]
    data.msi_entry = data.msi_entry._replace(data=7)


def _other_target(m: Machine) -> None:
    level, _ = _intel(m)
    cfg = vector_level(level).hw_irq_cfg
    vector_level(level).hw_irq_cfg = replace(cfg, vector=cfg.vector + 1)


def _stale(m: Machine) -> None:
    where = _intel(m)[1].irq_2_iommu
    where.iommu.table.base[9] = where.iommu.table.base[where.slot]


def _open_to_all(m: Machine) -> None:
    where = _intel(m)[1].irq_2_iommu
    low, _ = where.iommu.table.base[where.slot]
    where.iommu.table.base[where.slot] = low, 0


def _forgotten_guest(m: Machine) -> None:
    m.posted_irqs.clear()


def _upside_down(m: Machine) -> None:
    assert m.remapping is not None
    unit = m.remapping.intel.dmar.iommus[0]
    assert unit.ir_domain is not None
    unit.ir_domain.parent = None


def _native_domain(m: Machine) -> None:
    m.pci_devs["nic"].msi_domain = m.x86.pci_msi_default_domain


def _no_domain(m: Machine) -> None:
    m.pci_devs["nic"].msi_domain = None


# --- AMD-Vi -----------------------------------------------------------------------------------


def _amd_table_entry(m: Machine, index: int, value: int | None = None) -> int:
    assert m.remapping is not None
    table = m.remapping.amd.irq_lookup_table[_amd(m)[1].irq_2_irte.devid]
    before = table.table[index]
    if value is not None:
        table.table[index] = value
    return before


def _amd_leaked(m: Machine) -> None:
    _amd_table_entry(m, 99, _amd_table_entry(m, _amd(m)[1].irq_2_irte.index))


def _amd_message(m: Machine) -> None:
    data = _amd(m)[1]
    data.msi_entry = data.msi_entry._replace(data=7)


def _amd_invalid(m: Machine) -> None:
    assert m.remapping is not None
    mark = m.remapping.amd.format.allocated_mark
    _amd_table_entry(m, _amd(m)[1].irq_2_irte.index, mark)


def _other_table(m: Machine) -> None:
    assert m.remapping is not None
    m.remapping.amd.irq_lookup_table[2 << 8] = IrqRemapTable(99)


# --- VMD, Hyper-V, Xen, stores ----------------------------------------------------------------


def _lost_child(m: Machine) -> None:
    _child(m).irq.irq_list.clear()


def _miscounted(m: Machine) -> None:
    m.vmds["vmd"].irqs[1].count += 5


def _vmd_hwirq(m: Machine) -> None:
    _data(m, VmdIrq)[0].hwirq += 1


def _unknown_mapping(m: Machine) -> None:
    m.hv_buses[2].host.mappings.clear()


def _lost_pirq(m: Machine) -> None:
    assert m.xen is not None
    m.xen.hypervisor.release_pirq(_info(m).pirq)


def _second_leader(m: Machine) -> None:
    _info(m).flags = 0


def _of_a_pin(m: Machine) -> None:
    _info(m).gsi = 3


def _no_channel(m: Machine) -> None:
    assert m.xen is not None
    m.xen.hypervisor.ports.clear()


def _pirq_message(m: Machine) -> None:
    m.pci_devs["nic"].msi_list[0].msg = MsiMsg(0xFEE00000, 0, 0x4300)


def _masking(m: Machine) -> None:
    m.kernel.pci_msi_ignore_mask = False


def _replaceable(m: Machine) -> None:
    assert m.x86.pci_msi_default_domain is not None
    m.x86.pci_msi_default_domain.bus_token = 3


def _mapping(m: Machine) -> None:
    assert m.x86.pci_msi_default_domain is not None
    m.x86.pci_msi_default_domain.mapcount = 1


def _devid(m: Machine) -> None:
    m.platform_msi.devids |= 8


def _no_message(m: Machine) -> None:
    m.platform_devices["sensor"].messages.clear()


_PATHS: dict[str, dict[str, tuple[Operation, ...]]] = {
    "vtd": {
        "block": (done("alloc_msi", device=4, min=2, max=2),),
        "started": (
            done("alloc_msix", device=1, min=1, max=1),
            done("request_irq"),
        ),
        "posted": (
            done("alloc_msix", device=1, min=1, max=1),
            done("request_irq"),
            done("vcpu_attach"),
        ),
    },
    "amd-vi": {
        "block": (done("alloc_msi", device=1, min=2, max=2),),
        "started": (done("alloc_msi", device=1, min=2, max=2), done("request_irq")),
    },
    "vmd": {
        "started": (done("alloc_msix", device=1, min=2, max=2), done("request_irq")),
    },
    "hyper-v": {
        "started": (done("alloc_msix", device=0, min=1, max=1), done("request_irq")),
    },
    "xen-dom0": {
        "block": (done("alloc_msi", device=1, min=2, max=2),),
        "started": (done("alloc_msix", device=0, min=1, max=1), done("request_irq")),
    },
    "xen-domu": {
        "started": (done("alloc_msix", device=0, min=1, max=1), done("request_irq")),
    },
    "xen-hvm": {
        "started": (done("alloc_msix", device=0, min=1, max=1), done("request_irq")),
    },
    "device-msi": {
        "sensor": (done("platform_alloc", sensor=0, nvec=2), done("request_irq")),
    },
}
"""What is done before, by the machine."""


@pytest.mark.parametrize(
    ("machine", "operations", "break_it", "laws"),
    [
        ("vtd", "block", _leaked, {"INT-1"}),
        ("vtd", "block", _too_large, {"INT-1", "INT-2"}),
        ("vtd", "block", _other_member, {"INT-3", "INT-4", "INT-5", "INT-6", "INT-7"}),
        ("vtd", "started", _other_hwirq, {"INT-4"}),
        ("vtd", "started", _other_message, {"INT-5"}),
        ("vtd", "started", _other_target, {"INT-6", "INT-9"}),
        ("vtd", "started", _stale, {"INT-7"}),
        ("vtd", "posted", _forgotten_guest, {"INT-8"}),
        ("vtd", "started", _open_to_all, {"INT-6", "INT-12"}),
        ("vtd", "block", _upside_down, {"INT-14"}),
        ("vtd", "block", _native_domain, {"SEL-3"}),
        ("vtd", "block", _no_domain, {"SEL-1", "SEL-3"}),
        ("amd-vi", "block", _amd_leaked, {"AMD-4"}),
        ("amd-vi", "block", _amd_message, {"AMD-7"}),
        ("amd-vi", "started", _amd_invalid, {"AMD-9"}),
        ("amd-vi", "block", _other_table, {"AMD-1"}),
        ("vmd", "started", _lost_child, {"VMD-2"}),
        ("vmd", "started", _miscounted, {"VMD-3"}),
        ("vmd", "started", _vmd_hwirq, {"VMD-6"}),
        ("hyper-v", "started", _unknown_mapping, {"HVP-1", "HVP-2"}),
        ("xen-dom0", "block", _lost_pirq, {"XEN-4"}),
        ("xen-dom0", "block", _second_leader, {"XEN-group"}),
        ("xen-dom0", "block", _of_a_pin, {"XEN-1"}),
        ("xen-dom0", "started", _no_channel, {"XEN-5"}),
        ("xen-hvm", "started", _pirq_message, {"XEN-6"}),
        ("xen-domu", "started", _pirq_message, {"XB-11"}),
        ("xen-domu", "started", _masking, {"XB-16"}),
        ("xen-dom0", "block", _replaceable, {"XB-4"}),
        ("xen-dom0", "block", _mapping, {"XB-7"}),
        ("device-msi", "sensor", _devid, {"PLT-1"}),
        ("device-msi", "sensor", _no_message, {"PLT-stored"}),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_a_law_is_false_where_it_is_broken(
    machine: str, operations: str, break_it: Callable[[Machine], None], laws: set[str]
) -> None:
    run = _run(machine, *_PATHS[machine][operations])
    assert _false(run) == set()
    break_it(run.machine)
    assert laws <= _false(run) <= laws | {"X-delivery"}


# --- laws of steps ----------------------------------------------------------------------------


def test_every_law_concerns_a_machine_and_bare_metal_is_spared() -> None:
    kinds = PLATFORMS.values()
    for id in (*PLATFORM_LAWS, *STEP_SENTENCES):
        assert any(concerns(kind.description, id) for kind in kinds), id
        if id.split("-")[0] in ("INT", "AMD", "XEN", "XB", "VMD", "HVP", "IMS", "PLT"):
            assert not concerns(SMALL.description, id) and not concerns(HUBS.description, id)


def test_xb_6_xb_7_a_native_function_under_xen_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    alloc = Machine.pci_alloc_irq_vectors

    def trespassing(m: Machine, name: str, least: int, most: int, flags: int, _: object) -> int:
        m.vectors.trace("vector_alloc", irq=1, vector=1, reserved=0, ret=0)
        m.matrix.maps[0].alloc_map |= 4
        return alloc(m, name, least, most, flags)

    run = WholeRun(PLATFORMS["xen-dom0"], lenient=True)
    monkeypatch.setattr(Machine, "pci_alloc_irq_vectors", trespassing)
    run.perform(done("alloc_msix", device=0, min=1, max=1))
    assert run.noted.keys() >= {"XB-6", "XB-7"}


def test_sel_4_a_domain_that_changes_under_interrupts_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = _run("vtd", done("alloc_msix", device=1, min=1, max=1))

    def changing(m: Machine, cpu: int) -> int:
        m.pci_devs["nic"].msi_domain = None
        return 0

    monkeypatch.setattr(Machine, "cpu_down", changing)
    with pytest.raises(Broken, match="SEL-4"):
        run.perform(done("cpu_down", cpu=1))


def test_xen_8_a_belief_that_returns_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run("xen-dom0")
    assert run.machine.xen is not None
    run.machine.xen.pci.pci_seg_supported = False

    def believing(m: Machine, cpu: int) -> int:
        assert m.xen is not None
        m.xen.pci.pci_seg_supported = True
        return 0

    monkeypatch.setattr(Machine, "cpu_down", believing)
    with pytest.raises(Broken, match="XEN-8"):
        run.perform(done("cpu_down", cpu=1))


def test_vmd_5_a_vector_for_a_child_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    alloc = Machine.pci_alloc_irq_vectors

    def taking(m: Machine, name: str, least: int, most: int, flags: int, _: object) -> int:
        m.matrix.maps[0].alloc_map |= 1 << 7
        return alloc(m, name, least, most, flags)

    run = _run("vmd")
    monkeypatch.setattr(Machine, "pci_alloc_irq_vectors", taking)
    with pytest.raises(Broken, match="VMD-5"):
        run.perform(done("alloc_msix", device=1, min=1, max=1))

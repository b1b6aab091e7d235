# SPDX-License-Identifier: GPL-2.0-only
"""Random programs on machines of every platform, under all layers that can follow and all laws."""

import pytest

from proofs.machine_tasks import LAYERS
from proofs.platform_machines import PLATFORMS
from proofs.platform_operations import PLATFORM_OPERATIONS
from proofs.stateful import Session, drive
from proofs.whole_operations import OPERATIONS
from proofs.whole_run import WholeRun

_DRIVERS = {"alloc_msix", "free_vectors", "request_irq", "free_irq", "suspend", "resume", "sleep"}
_POSTING = {"vcpu_attach", "vcpu_detach"}
_REMAPPED = _POSTING | {"add_functions", "remove_functions", "hpet_assign_irq"}
_XEN = {"xen_answer_next", "fail_next"}
_DOES = {
    "vtd": (14, _REMAPPED | {"insert_unit", "remove_unit"}),
    "vtd-early": (8, _REMAPPED),
    "amd-vi": (10, _REMAPPED),
    "amd-vi-early": (10, _REMAPPED),
    "hyper-v": (8, {"hv_pci_probe", "hv_pci_remove", "hv_refuse_next"}),
    "vmd": (8, {"vmd_probe", "vmd_remove"}),
    "xen-dom0": (8, _XEN | {"vmd_probe", "vmd_remove"}),
    "xen-domu": (8, _XEN),
    "xen-hvm": (8, _XEN | {"register_gsi"}),
    "xen-pvh": (8, _XEN | {"register_gsi", "set_affinity"}),
    "device-msi": (
        12,
        {"ims_probe", "ims_remove", "ims_alloc", "ims_free", "platform_alloc", "platform_free"},
    ),
}
"""How many programs each machine needs to do all that it is for."""


def test_every_machine_is_driven_and_every_operation_is_some_machine_s() -> None:
    assert _DOES.keys() == PLATFORMS.keys()
    done = {name for _, names in _DOES.values() for name in names} | _DRIVERS
    assert PLATFORM_OPERATIONS.keys() <= done
    assert done <= OPERATIONS.keys()


@pytest.mark.parametrize("name", PLATFORMS)
def test_random_programs_refute_nothing(name: str) -> None:
    session = Session.with_run(WholeRun(PLATFORMS[name]))
    programs, names = _DOES[name]
    assert drive(session, 20201111, programs) is None
    assert _DRIVERS | names <= session.performed.keys()


@pytest.mark.parametrize("name", ["vtd", "vtd-early", "amd-vi", "amd-vi-early", "vmd"])
def test_interrupts_are_remapped_where_they_should_be(name: str) -> None:
    machine = PLATFORMS[name].build()
    assert machine.remapping is not None and machine.remapping.core.irq_remapping_enabled
    domains = {dev.msi_domain.name[:5] for dev in machine.pci_devs.values() if dev.msi_domain}
    assert domains <= {"INTEL", "AMD-I", "VMD-M"} and len(domains) == 1 + (name == "vmd")


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_layer_that_does_not_follow_is_named_with_the_reason(name: str) -> None:
    machine = PLATFORMS[name]
    assert set(machine.layers) | machine.left_out.keys() == set(LAYERS)
    assert not set(machine.layers) & machine.left_out.keys()
    assert all(len(reason) > 10 for reason in machine.left_out.values())
    assert machine.never <= OPERATIONS.keys()

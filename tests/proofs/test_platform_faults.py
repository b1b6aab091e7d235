# SPDX-License-Identifier: GPL-2.0-only
"""X-4 on every platform: whatever runs out or is refused, an operation that fails changes nothing.

The run itself looks that nothing changes; here every allocation of memory fails once in every kind
of allocation, and every request to a host or the hypervisor is answered in every way.
"""

from collections.abc import Iterator

import pytest

from impl.kernel.kernel import ALLOCATION_SITES
from proofs.driven import Operation
from proofs.monitor import HazardEntered
from proofs.platform_machines import PLATFORMS
from proofs.platform_operations import ANSWERS, REFUSALS
from proofs.whole_operations import FATAL
from proofs.whole_run import WholeRun
from tests.proofs.whole_scenarios import done

_IRQ = {"alloc_desc", "irq_domain_insert_irq_data", "alloc_apic_chip_data"}
_PCI = {"alloc_msi_entry", "populate_msi_sysfs"}
_VT_D = _IRQ | _PCI | {"intel_irq_remapping_alloc"}
_AMD = _IRQ | _PCI | {"irq_remapping_alloc", "alloc_irq_table"}
_XEN = _PCI | {"alloc_desc", "set_evtchn_to_irq"}
_MAP = {"msix_map_region"}


def _prepared(path: tuple[Operation, ...], run: WholeRun) -> None:
    for operation in path:
        assert run.allows(operation), operation
        assert run.perform(operation) >= 0
        run.judge()


def _struck(run: WholeRun, last: Operation) -> set[str]:
    """Let each allocation at each site fail in the last operation: the sites where one did."""
    before, struck = run.save(), set()
    for site, name in enumerate(ALLOCATION_SITES):
        nth = 0
        while name not in FATAL and (nth == 0 or run.struck):
            nth += 1
            run.restore(before)
            run.perform(done("fail_next", site=site, nth=nth))
            try:
                run.perform(last)
                run.judge()
            except HazardEntered:  # a layer says nothing of what comes then
                struck.add(name)
                break
            if run.struck:
                struck.add(name)
    return struck


@pytest.mark.parametrize(
    ("machine", "path", "last", "sites"),
    [
        ("vtd", (), done("alloc_msi", device=4, min=2, max=2), _VT_D),
        ("vtd", (), done("alloc_msix", device=1, min=2, max=2), _VT_D | _MAP),
        (
            "vtd",
            (),
            done("hpet_assign_irq", hpet=0, channel=0),
            _IRQ | {"intel_irq_remapping_alloc"},
        ),
        ("vtd", (), done("add_functions", device=1), set()),
        ("amd-vi", (), done("alloc_msi", device=1, min=2, max=2), _AMD),
        ("amd-vi", (), done("alloc_msix", device=2, min=2, max=2), _AMD | _MAP),
        ("hyper-v", (), done("alloc_msix", device=0, min=2, max=2), _IRQ | _PCI | _MAP),
        ("hyper-v", (), done("alloc_msi", device=1, min=2, max=2), _IRQ | _PCI),
        (
            "hyper-v",
            (done("hv_pci_remove", bus=0),),
            done("hv_pci_probe", bus=0),
            {"hv_pci_probe", "irq_domain_alloc_fwnode", "irq_domain_add", "new_pcichild_device"}
            | {"pci_create_root_bus"},
        ),
        (
            "vmd",
            (),
            done("alloc_msix", device=1, min=2, max=2),
            _PCI | _MAP | {"alloc_desc", "vmd_msi_init"},
        ),
        ("xen-dom0", (), done("alloc_msix", device=0, min=2, max=2), _XEN | _MAP),
        ("xen-dom0", (), done("alloc_msi", device=1, min=2, max=2), _XEN),
        (
            "xen-domu",
            (),
            done("alloc_msix", device=0, min=2, max=2),
            _XEN | _MAP | {"xen_setup_msi_irqs"},
        ),
        ("xen-hvm", (), done("alloc_msix", device=0, min=2, max=2), _XEN | _MAP),
        ("device-msi", (), done("platform_alloc", sensor=0, nvec=2), _IRQ),
        ("device-msi", (), done("ims_alloc", store=0, subdevice=0, nvec=2), _IRQ),
        ("device-msi", (), done("ims_alloc", store=1, subdevice=0, nvec=2), _IRQ),
        (
            "device-msi",
            (done("ims_remove", store=0),),
            done("ims_probe", store=0),
            {"ims_create_msi_irq_domain", "irq_domain_alloc_fwnode", "irq_domain_add"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_x_4_memory_that_runs_out_anywhere_changes_nothing(
    machine: str, path: tuple[Operation, ...], last: Operation, sites: set[str]
) -> None:
    run = WholeRun(PLATFORMS[machine])
    _prepared(path, run)
    assert run.allows(last)
    assert _struck(run, last) >= sites


# --- hosts and hypervisors --------------------------------------------------------------------


def _answers() -> Iterator[Operation]:
    for answer in range(len(ANSWERS)):
        yield from (done("xen_answer_next", answer=answer, served=served) for served in range(4))


def _refusals() -> Iterator[Operation]:
    yield from (done("hv_refuse_next", bus=0, what=what) for what in range(len(REFUSALS)))


_MSIX = done("alloc_msix", device=0, min=2, max=2)
_BLOCK = done("alloc_msi", device=1, min=2, max=2)
_START = (_MSIX, done("request_irq", irq=1))


@pytest.mark.parametrize("machine", ["xen-dom0", "xen-domu", "xen-hvm"])
@pytest.mark.parametrize(
    "path",
    [
        (_MSIX,),
        (_BLOCK,),
        _START,
        (*_START, done("set_affinity", irq=1, mask=2)),
        (*_START, done("free_irq", irq=1)),
        (_MSIX, done("free_vectors", device=0)),
        (_MSIX, done("suspend", device=0), done("resume", device=0)),
    ],
    ids=lambda path: path[-1].name,
)
def test_x_4_section_9_4_whatever_the_hypervisor_says_nothing_is_lost(
    machine: str, path: tuple[Operation, ...]
) -> None:
    run = WholeRun(PLATFORMS[machine])
    for operation in path[:-1]:
        run.perform(operation)
        run.judge()
    before = run.save()
    for answer in _answers():
        run.restore(before)
        run.perform(answer)
        run.perform(path[-1])
        run.judge()
        for operation in run.leaving():
            run.perform(operation)
            run.judge()


@pytest.mark.parametrize(
    "path",
    [
        (_MSIX, done("request_irq", irq=2)),
        (_MSIX, done("request_irq", irq=2), done("free_irq", irq=2)),
        (_MSIX, done("request_irq", irq=2), done("set_affinity", irq=2, mask=2)),
        (_MSIX, done("request_irq", irq=2), done("disable_irq", irq=2)),
        (_MSIX, done("free_vectors", device=0)),
        (done("hv_pci_remove", bus=0),),
    ],
    ids=lambda path: path[-1].name,
)
def test_hvp_1_hvp_5_whatever_a_host_refuses_the_kernel_goes_on(
    path: tuple[Operation, ...],
) -> None:
    run = WholeRun(PLATFORMS["hyper-v"])
    for operation in path[:-1]:
        run.perform(operation)
    before = run.save()
    for refusal in _refusals():
        run.restore(before)
        run.perform(refusal)
        run.perform(path[-1])
        run.judge()

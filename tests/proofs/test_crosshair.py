# SPDX-License-Identifier: GPL-2.0-only
"""CrossHair finds nothing against the pure functions, and finds every fault that is put in."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from proofs import contracts
from proofs.verdict import Verdict

ROOT = Path(__file__).parents[2]

EXHAUSTED = {
    "compose_ir_ioapic_entry",
    "compose_msi_msg",
    "compose_pirq_msg",
    "decode_ir_msi_msg",
    "decode_pirq_msg",
    "ir_hwirq",
    "ir_ioapic_index",
    "irte_apicid",
    "irte_dest",
    "is_remappable",
    "msi_mask",
    "msi_vec_count",
    "msix_vec_count",
    "pack",
    "pci_devid",
    "pci_msi_calc_hwirq",
}
TRIED = {
    "compose_ir_msi_msg",
    "find_next_zero_area",
    "irte_accepts",
    "lowest_zero",
    "multiple_of",
    "unpack",
}

FAULTS = {
    "pci_4_segment_shifted_by_26": ("impl.drivers.pci.msi_regs", "<< 27", "<< 26"),
    "n12_no_cut_to_the_width": ("impl.drivers.pci.msi_regs", " & ((1 << width) - 1)", ""),
    "devid_loses_a_bit_of_the_bus": (
        "impl.drivers.pci.msi_regs",
        "return bus << 8",
        "return (bus & 0x7F) << 8",
    ),
    "block_too_large_for_a_power_of_two": (
        "impl.drivers.pci.msi_regs",
        "(nvec - 1).bit_length()",
        "nvec.bit_length()",
    ),
    "apic_1_destination_shifted_by_11": (
        "impl.arch.x86.msidef",
        "_DEST_ID_SHIFT = 12",
        "_DEST_ID_SHIFT = 11",
    ),
    "decoded_vector_not_cut_out": ("impl.arch.x86.msidef", "data & _VECTOR_MASK", "data"),
    "xen_6_pirq_shifted_by_11": (
        "impl.arch.x86.xen_message",
        "_DEST_ID_SHIFT = 12",
        "_DEST_ID_SHIFT = 11",
    ),
    "area_one_too_short": ("impl.kernel.bitmap", "range(1, count)", "range(1, count - 1)"),
    "int_5_index_shifted_by_6": (
        "impl.drivers.iommu.intel_irte",
        "(index & 0x7FFF) << 5",
        "(index & 0x7FFF) << 6",
    ),
    "packed_without_the_mask": (
        "impl.arch.x86.io_apic_regs",
        "        | entry.mask << 16\n",
        "",
    ),
}


@pytest.mark.parametrize("name", contracts.MODULES)
def test_no_contract_is_broken(name: str) -> None:
    results = contracts.check_named(name)
    assert [result.check for result in results if not result.verdict.good] == []
    for result in results:
        function = result.check.removeprefix("contract ")
        assert function in EXHAUSTED | TRIED
        if function in EXHAUSTED:
            assert result.verdict is Verdict.PROVED


def test_every_contract_is_tried() -> None:
    modules = (importlib.import_module(name) for name in contracts.MODULES)
    found = {name for module in modules for name, _ in contracts.contracted(module)}
    assert found == EXHAUSTED | TRIED


def test_the_contracts_are_plain_pep_316() -> None:
    """They need no more than the tool as it is installed, with its own operators."""
    files = [f"{name.replace('.', '/')}.py" for name in contracts.MODULES]
    command = ["-m", "crosshair", "check", "--max_uninteresting_iterations", "10"]
    command += ["--analysis_kind", "PEP316", *files]
    run = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.parametrize(("name", "old", "new"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_found(tmp_path: Path, name: str, old: str, new: str) -> None:
    source = ROOT.joinpath(*name.split(".")).with_suffix(".py").read_text()
    assert source.count(old) == 1
    file = tmp_path / f"{name.rpartition('.')[2]}.py"
    file.write_text(source.replace(old, new))
    results = contracts.check(_loaded(f"faulty_{file.stem}", file))
    refuted = [result for result in results if result.verdict is Verdict.REFUTED]
    assert refuted and all("when calling" in result.detail for result in refuted)


def _loaded(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_no_conditions_are_no_answer(tmp_path: Path) -> None:
    file = tmp_path / "vague.py"
    file.write_text(
        'def f(x: int) -> int:\n    """Of no use.\n\n    post: _ >\n    """\n    return x\n'
    )
    (result,) = contracts.check(_loaded("vague", file))
    assert result.verdict is Verdict.UNDETERMINED

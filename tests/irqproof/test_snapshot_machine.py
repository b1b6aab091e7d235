# SPDX-License-Identifier: GPL-2.0-only
"""The machine of a snapshot of Xen, booted in the implementation, gives the same picture."""

from pathlib import Path

import pytest

from impl.description import parse_description
from impl.drivers.pci.msi import PCI_IRQ_MSI, PCI_IRQ_MSIX
from impl.machine import Machine
from proofs import snapshot_machine
from proofs.snapshot_judge import Judgement
from proofs.snapshot_machine import describe_dom0, judge_same_picture
from proofs.snapshots import open_archive
from proofs.snapshots_view import View, view_of
from tests.irqproof.snapshot_support import XEN, files, unpack


def view(tmp_path: Path, **altered: str) -> View:
    directory = unpack(XEN, "s1-loaded", tmp_path / "xen", **altered)
    return view_of(open_archive(str(directory)).snapshots[0], None)


def broken_rules(seen: View) -> set[str]:
    judgement = Judgement("f")
    judge_same_picture(seen, judgement)
    return {finding.rule for finding in judgement.findings}


def test_xb_6_xen_4_the_booted_machine_gives_the_same_picture(tmp_path: Path) -> None:
    seen = view(tmp_path)
    m = Machine(parse_description(describe_dom0(seen)))
    assert m.xen is not None and m.xen.kind.name == "PV_DOM0" and m.kernel.nr_cpu_ids == 2
    wanted: dict[str, int] = {}
    for owner in seen.msi_irqs.values():
        wanted[owner.device] = wanted.get(owner.device, 0) + 1
    assert set(m.pci_devs) == set(wanted) and sum(wanted.values()) == 14
    for name, count in wanted.items():
        flags = PCI_IRQ_MSI if name == "0000:00:07.0" else PCI_IRQ_MSIX
        assert m.pci_alloc_irq_vectors(name, count, count, flags) == count
    chips = [desc.irq_data.chip for irq, desc in m.irqs.descs.items() if irq >= 16]
    assert len(chips) == 14 and {chip.name for chip in chips if chip} == {"xen-pirq"}
    assert not broken_rules(seen)


def test_xb_6_xb_7_xen_1_xen_4_a_native_machine_gives_another_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def native(seen: View) -> str:
        text = describe_dom0(seen)
        xen = text[text.index("[xen]") : text.index("[cpus]")]
        for old in (xen, 'interrupt_mode = "pic"\n', "timer = false\n"):
            text = text.replace(old, "")
        ioapic = "[[ioapic]]\nid = 0\ngsi_base = 0\npins = 24\n"
        return text.replace('"xen"', '"native"') + ioapic

    monkeypatch.setattr(snapshot_machine, "describe_dom0", native)
    assert broken_rules(view(tmp_path)) == {"XB-6", "XB-7", "XEN-1", "XEN-4"}


def test_xen_4_more_irqs_than_the_table_has_entries(tmp_path: Path) -> None:
    table = files(XEN)["s1-loaded.msixtab.txt"]
    lines = [line for line in table.split("\n") if not line.startswith("0000:00:02.0 msix[")]
    smaller = "\n".join(lines).replace("entries=9", "entries=2")
    assert broken_rules(view(tmp_path, msixtab=smaller)) == {"XEN-4"}


def test_a_device_with_several_msis(tmp_path: Path) -> None:
    """The block of a device's MSIs is as large as the next power of two; it takes what it needs."""
    text = files(XEN)["s1-loaded.msi_irqs.txt"]
    more = "".join(f"/sys/bus/pci/devices/0000:00:07.0/msi_irqs/{n}:msi\n" for n in (60, 61))
    seen = view(tmp_path, msi_irqs=text + more)
    assert "msi = { vectors = 4 }" in describe_dom0(seen)
    assert not broken_rules(seen)


def test_what_cannot_be_described_is_left(tmp_path: Path) -> None:
    seen = view(tmp_path, msi_irqs=files(XEN)["s1-loaded.msi_irqs.txt"].replace("0000:00:", "x:"))
    judgement = Judgement("f")
    judge_same_picture(seen, judgement)
    assert not judgement.findings and not judgement.facts
    ((_, reason),) = judgement.left
    assert reason.startswith("the machine cannot be described and booted")

# SPDX-License-Identifier: GPL-2.0-only
"""Archives of snapshots and the files in them: what is read, and what is refused with one line."""

import bz2
import gzip
import io
import lzma
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from irqproof import cli
from proofs import snapshots
from proofs.snapshots import Line, Place, SnapshotError, Table, is_archive, open_archive
from proofs.snapshots_debugfs import debug_irqs
from proofs.snapshots_intel import remapping_tables
from proofs.snapshots_pci import device_id, msi_messages, msix_tables
from proofs.snapshots_proc import cpu_list, interrupts, msi_irqs, numbers, present_cpus
from proofs.snapshots_xen import xen_tables
from tests.irqproof.snapshot_support import (
    CAPTURES,
    PLAIN,
    VTD,
    XEN,
    archive_of,
    files,
    judged,
    unpack,
)


def table(text: str) -> Table:
    lines = enumerate(text.splitlines(), start=1)
    return Table("f", tuple(Line(Place("f", n), line) for n, line in lines if line.strip()))


def refused(capsys: pytest.CaptureFixture[str], *arguments: Path | str) -> str:
    """The one line on standard error of a run that ends with exit code 2."""
    assert cli.main(["replay", *map(str, arguments)]) == 2
    streams = capsys.readouterr()
    assert streams.err.count("\n") == 1 and "held" not in streams.out
    return streams.err.rstrip()


# --- archives -------------------------------------------------------------------------------


@pytest.mark.parametrize("capture", CAPTURES)
def test_a_directory_and_a_tar_file_are_the_same(capture: str, tmp_path: Path) -> None:
    for name, text in files(capture).items():
        (tmp_path / name).write_text(text)
    unpacked, packed = open_archive(str(tmp_path)), open_archive(str(archive_of(capture)))
    assert [s.name for s in unpacked.snapshots] == [s.name for s in packed.snapshots]
    for one, other in zip(unpacked.snapshots, packed.snapshots, strict=True):
        assert {k: [x.text for x in t] for k, t in one.tables.items()} == {
            k: [x.text for x in t] for k, t in other.tables.items()
        }


def test_numbers_in_names_are_numbers() -> None:
    names = [snapshot.name for snapshot in open_archive(str(archive_of(PLAIN))).snapshots]
    assert names[0] == "s0-boot" and names[-2:] == ["s9-pmtest", "s11-rmmod"]


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    unpack(PLAIN, "s0-boot", tmp_path)
    (tmp_path / "dmesg.txt").write_text("")
    (tmp_path / "s0-boot.unheard.txt").write_text("")
    (tmp_path / "more").mkdir()
    assert open_archive(str(tmp_path)).passed_over == ("dmesg.txt", "s0-boot.unheard.txt")


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def tar_of(snapshot: str, tmp_path: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(unpack(XEN, snapshot, tmp_path / "x"), "here/it/is")
    return stream.getvalue()


@pytest.mark.parametrize("packer", PACKERS)
def test_a_tar_file_is_known_by_its_content(packer: str, tmp_path: Path) -> None:
    file = tmp_path / "snapshots"
    file.write_bytes(PACKERS[packer](tar_of("s0-boot", tmp_path)))
    assert is_archive(str(file))
    archive = open_archive(str(file))
    assert [snapshot.name for snapshot in archive.snapshots] == ["s0-boot"]
    assert archive.snapshots[0].tables["cpus"].file == f"{file}/s0-boot.cpus.txt"


def test_what_no_archive_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.tar.gz"
    text.write_text("no archive\n")
    assert refused(capsys, text).startswith(f"{text}: error: is no tar archive")
    empty = tmp_path / "empty.tar"
    empty.write_bytes(b"")
    assert refused(capsys, empty).startswith(f"{empty}: error: is no tar archive")
    missing = tmp_path / "missing.tar"
    assert refused(capsys, missing) == f"{missing}: error: No such file or directory"


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("packer", PACKERS)
def test_an_archive_that_breaks_off(
    share: float, packer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cut.tar"
    content = tar_of("s1-loaded", tmp_path)
    content = content.rstrip(b"\0") if packer == "plain" else PACKERS[packer](content)
    file.write_bytes(content[: int(len(content) * share)])
    assert refused(capsys, file).startswith(f"{file}")


def test_an_unknown_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "proc.txt").write_text("           CPU0\n")
    line = refused(capsys, tmp_path)
    assert line == f"{tmp_path}: error: holds no snapshot: no file is named like s1.interrupts.txt"


def test_a_file_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "twice.tar"
    with tarfile.open(file, "w") as tar:
        for folder in ("a", "b"):
            content = b"/sys/devices/system/cpu/present:0\n"
            member = tarfile.TarInfo(f"{folder}/s.cpus.txt")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    assert refused(capsys, file) == f"{file}: error: s.cpus.txt is there twice"


def test_a_file_that_is_too_large(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "LARGEST", 1 << 20)
    (tmp_path / "s.cpus.txt").write_bytes(b"\n" * ((1 << 20) + 1))
    assert refused(capsys, tmp_path) == f"{tmp_path}/s.cpus.txt: error: is larger than 1 MB"


def test_a_bad_archive_does_not_hide_what_a_log_refutes(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    event = "irq_matrix_reserve: online_maps=1 global_avl=200, global_rsvd={}, total_alloc=9"
    log.write_text("".join(f"  sh-9 [000] d..1. 1: {event.format(n)}\n" for n in (3, 5)))
    assert cli.main(["replay", "--quiet", str(log), str(tmp_path / "missing.tar")]) == 1


def test_a_log_that_is_none_does_not_hide_snapshots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.txt"
    assert cli.main(["replay", "--quiet", str(missing), str(archive_of(XEN))]) == 2
    streams = capsys.readouterr()
    assert (
        streams.err.startswith(f"{missing}: error:") and f"{archive_of(XEN)}: held" in streams.out
    )


def test_nothing_to_judge_is_undetermined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.cpus.txt").write_text("/sys/devices/system/cpu/present:0\n")
    assert cli.main(["replay", str(tmp_path)]) == 3
    assert f"{tmp_path}: undetermined: nothing in 1 snapshot" in capsys.readouterr().out


def test_many_findings_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = files(VTD)["s1-loaded.debug_irq.txt"].replace("domain:  INTEL-IR", "domain:  AMD-IR")
    unpack(VTD, "s1-loaded", tmp_path, debug_irq=text)
    assert cli.main(["replay", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sum(": refuted: " in line for line in lines) == 20
    assert any(line.startswith("  and ") and line.endswith(" more") for line in lines)
    assert cli.main(["replay", "--quiet", str(tmp_path)]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 1


# --- files ----------------------------------------------------------------------------------

BROKEN = {
    "empty": ("cpus", "\n\n", None, "is empty"),
    "binary": ("cpus", "ab\n\0c\n", 2, "is binary"),
    "cut": ("cpus", "/sys/devices/system/cpu/present:0\n/sys", 2, "the file breaks off"),
    "no CPUs": ("cpus", "/sys/devices/system/cpu/online:0\n", None, "has no line"),
    "a wrong list": ("cpus", "/sys/devices/system/cpu/present:0-\n", 1, "'0-' is no list"),
    "no header": ("interrupts", " 1: 0 a b\n", 1, "does not name CPUs"),
    "a wrong row": ("interrupts", "  CPU0\n 1:  0\n", 2, "is no row"),
    "too many counts": ("interrupts", "  CPU0\n 1:  0  0  chip 1-edge\n", 2, "is no row"),
    "no msi_irqs": ("msi_irqs", "/sys/9:msix\n", 1, "is no line of"),
    "an irq twice": (
        *("msi_irqs", "/sys/bus/pci/devices/a/msi_irqs/9:msix\n" * 2),
        *(2, "irq 9 is listed twice"),
    ),
    "no affinity": ("proc_irq", "/proc/irq/9/node:0\n", None, "has no effective_affinity_list"),
    "no irq": ("sys_kernel_irq", "/sys/kernel\n", None, "has no line of /sys/kernel/irq"),
    "no table": ("msixtab", "0000:00:02.0 msix\n", 1, "is no line of an MSI-X table"),
    "no capability": (
        *("msixtab", "a msix[0] 0xFEE00000 0x00000000 0x00000021 0x00000000\n"),
        *(1, "no MSI-X table above"),
    ),
    "no space": ("pciconfig", "0000:00:02.0 8680\n", 1, "is no configuration space"),
    "no debugfs": ("debug_irq", "nothing\n", None, "has no irq of"),
    "no domain": (
        *("debug_irq", "/sys/kernel/debug/irq/irqs/9:domain:  V\n"),
        *(None, "has no domain of"),
    ),
    "no name": ("debug_irq", "/sys/kernel/debug/irq/domains/V: size: 0\n", 1, "stands nowhere"),
    "neither": ("debug_irq", "/sys/kernel/debug/irq/what\n", 1, "neither of an irq nor"),
    "no level": ("debug_irq", "/sys/kernel/debug/irq/irqs/9: hwirq: 1\n", 1, "has no domain above"),
    "no number": (
        *("debug_irq", "/sys/kernel/debug/irq/irqs/9:domain: V\n"),
        *(2, "'x' is no number"),
    ),
    "no unit": ("ir_translation", "nothing\n", 1, "is no line of a remapping table"),
    "no units": ("ir_translation", "****\n", None, "names no unit"),
    "no keys": ("xenkeys", "(XEN) hello\n", None, "prints for the key i"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_makes_no_sense(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, text, line, message = BROKEN[case]
    if case == "no number":
        text += "/sys/kernel/debug/irq/irqs/9: hwirq: x\n"
    (tmp_path / f"s.{kind}.txt").write_text(text)
    told = refused(capsys, tmp_path)
    place = f"{tmp_path}/s.{kind}.txt" + ("" if line is None else f":{line}")
    assert told.startswith(f"{place}: error: ") and message in told


def test_a_level_without_a_number_and_a_domain_without_a_count() -> None:
    domain = "/sys/kernel/debug/irq/domains/V:name:   V\n"
    irq = "/sys/kernel/debug/irq/irqs/9:domain:  V\n"
    with pytest.raises(SnapshotError, match="irq 9 has a level without a hwirq"):
        debug_irqs(table(irq + domain + "/sys/kernel/debug/irq/domains/V: mapped: 1\n"))
    with pytest.raises(SnapshotError, match="domain V does not say how many"):
        debug_irqs(table(irq + "/sys/kernel/debug/irq/irqs/9: hwirq: 0x9\n" + domain))


def test_a_kernel_message_in_the_middle_is_passed_over() -> None:
    text = files(VTD)["s0-boot.debug_irq.txt"].splitlines()
    again = debug_irqs(table("\n".join([*text[:9], "[  1.0] hello", *text[9:]])))
    assert again.chains.keys() == debug_irqs(table("\n".join(text))).chains.keys()


def test_rows_of_interrupts() -> None:
    found = interrupts(
        table(
            "       CPU0   CPU1\n"
            " 24:      0      5  xen-pirq    -msi-x     PCIe PME, aerdrv\n"
            " 25:      1      0   PCI-MSI 114688-edge\n"
            "NMI:      0      0   Non-maskable interrupts\n"
        )
    )
    assert [(row.chip, row.flow) for row in found.values()] == [
        ("xen-pirq", "-msi-x"),
        ("PCI-MSI", "114688-edge"),
    ]
    assert {irq: n.hwirq for irq, n in numbers(None, found).items()} == {25: 114688}


def test_lists_of_cpus() -> None:
    line = Line(Place("f", 1), "")
    assert cpu_list("0-2,5", line) == {0, 1, 2, 5} and cpu_list(" ", line) == frozenset()
    for wrong in ("0-", "a", "1,,2", "1 2", "3,"):
        with pytest.raises(SnapshotError, match="is no list of CPUs"):
            cpu_list(wrong, line)
    assert present_cpus(table("/sys/devices/system/cpu/present:0-1\n")) == {0, 1}


def test_msi_irqs_of_devices() -> None:
    found = msi_irqs(table("/sys/bus/pci/devices/0000:00:07.0/msi_irqs/38:msi\n"))
    assert (found[38].device, found[38].kind) == ("0000:00:07.0", "msi")


@pytest.mark.parametrize("wide", [True, False])
def test_msi_of_either_width(wide: bool) -> None:
    config = bytearray(256)
    config[6], config[0x34] = 0x10, 0x40
    config[0x40:0x44] = bytes((1, 0x50, 0, 0))
    config[0x50:0x54] = bytes((5, 0, 0x81 if wide else 1, 0))
    config[0x54:0x5E] = bytes.fromhex("0440e0fe" + ("01000000" if wide else "") + "2100")[
        :10
    ].ljust(10, b"\0")
    found = msi_messages(table(f"0000:00:07.0 {config.hex()}\n"))["0000:00:07.0"]
    assert (found.address_lo, found.address_hi, found.data) == (0xFEE04004, int(wide), 0x21)
    config[0x52] &= 0xFE
    assert not msi_messages(table(f"0000:00:07.0 {config.hex()}\n"))
    # A list of capabilities that goes round ends some time.
    config[0x41] = 0x40
    assert not msi_messages(table(f"0000:00:07.0 {config.hex()}\n"))


def test_a_table_of_messages_may_be_off() -> None:
    found = msix_tables(table("a msix ctl=0004 bir=1 off=0 entries=5 base=0x00000000feadd000\n"))
    assert not found["a"].enabled and not found["a"].messages


def test_names_of_devices() -> None:
    assert device_id("0000:00:1f.2") == 0xFA and device_id("10000:01:02.3") == 0x113
    assert device_id("") == device_id("0000:00:1f.8") == -1


def test_two_units_have_tables_of_their_own() -> None:
    entry = " 1     ff:00.0 00000000 30  000000000004ff00\t0000000000300009\n"
    unit = "Remapped Interrupt supported on IOMMU: dmar{}\n IR table address:2e00000\n"
    text = unit.format(0) + " Entry SrcID\n" + entry + "\n****\n\n" + unit.format(1) + entry
    found = remapping_tables(table(text))
    assert [(e.unit, e.index, e.vector, e.irte.svt) for e in found] == [
        ("0", 1, 0x30, 1),
        ("1", 1, 0x30, 1),
    ]


def test_an_irq_of_xen_may_have_several_guests() -> None:
    text = (
        "(XEN)    IRQ:   9 vec:60 IO-APIC-level   status=030 aff:{0}/{0} in-flight=0"
        " d0:  9(---),d3: 55(-S-)\n(XEN) 0000:00:08.0 - d0 - node -1  - MSIs < 25 >\n"
    )
    found = xen_tables(table(text))
    assert found.irqs[9].pirqs == ((0, 9), (3, 55)) and found.devices["0000:00:08.0"].irqs == (25,)


def test_int_6_destinations_of_32_bits(tmp_path: Path) -> None:
    """In extended interrupt mode an entry has the APIC id as it is."""
    text = files(VTD)["s1-loaded.ir_translation.txt"]
    text, changed = re.subn(r"00000([123])00(?= \w\w |00\w\w0009)", r"0000000\1", text)
    assert changed == 2 * 21
    judgement = judged(VTD, unpack(VTD, "s1-loaded", tmp_path, ir_translation=text))
    assert not judgement.findings and judgement.facts["INT-6"] > 100

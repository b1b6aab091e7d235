# SPDX-License-Identifier: GPL-2.0-only
"""Alterations of the snapshots, each of one line, and the rule that each breaks."""

from dataclasses import dataclass

from tests.irqproof.snapshot_support import PLAIN, VTD, XEN


@dataclass(frozen=True)
class Case:
    """In the file `member` of a capture, what `pattern` matches first becomes `replacement`."""

    rule: str
    capture: str
    member: str
    pattern: str
    replacement: str


CASES = {
    # A chain and its domains.
    "a level's domain": Case(
        "DOM-1", VTD, "s1-loaded.debug_irq", r"(/53:    domain:  )INTEL\S+", r"\1VECTOR"
    ),
    "a last level": Case(
        "DOM-1", VTD, "s1-loaded.debug_irq", "(/53:        domain:  )VECTOR", r"\1DMAR-MSI"
    ),
    "a first level": Case(
        "DOM-1", VTD, "s1-loaded.debug_irq", r"(/53:domain:  )\S+", r"\1IR-PCI-MSIX-none-12"
    ),
    "a domain's parent": Case(
        "INT-14", VTD, "s1-loaded.debug_irq", r"(0a.0-12: parent: )\S+", r"\1IO-APIC-0"
    ),
    "a unit's parent": Case(
        "INT-14", VTD, "s1-loaded.debug_irq", r"(/INTEL-IR-0-13: parent: )\S+", r"\1DMAR-MSI"
    ),
    "a copied name": Case(
        "DOM-1", VTD, "s1-loaded.debug_irq", r"(0a.0-12:    name:   )\S+", r"\1VECTOR"
    ),
    "a mapcount": Case(
        "DOM-3", VTD, "s1-loaded.debug_irq", "(/INTEL-IR-0-13: mapped: )49", r"\g<1>48"
    ),
    "a copied mapcount": Case(
        "DOM-3", VTD, "s1-loaded.debug_irq", "(09.0-12:     mapped: )49", r"\g<1>50"
    ),
    "a hwirq twice": Case(
        "DOM-4", VTD, "s1-loaded.debug_irq", "(/53:     hwirq:   )0x300000", r"\g<1>0x2f0000"
    ),
    "a message's hwirq": Case(
        "DOM-4", VTD, "s1-loaded.debug_irq", "(/53: hwirq:   )0x1", r"\g<1>0x0"
    ),
    # The matrix.
    "a vector": Case(
        "VEC-5", VTD, "s1-loaded.debug_irq", "(/53:         Vector:    )38", r"\g<1>39"
    ),
    "a target": Case(
        "refinement", VTD, "s1-loaded.debug_irq", "(/53:         Target:     )2", r"\g<1>3"
    ),
    "a vector in use": Case(
        "MX-3", VTD, "s1-loaded.debug_irq", "(VECTOR:     0 .*  )32-38", r"\g<1>32-37"
    ),
    "a vector of nobody": Case(
        "VEC-10", VTD, "s1-loaded.debug_irq", "(VECTOR:     0 .*  )32-38", r"\g<1>32-39"
    ),
    "available": Case("MX-6", VTD, "s1-loaded.debug_irq", "(VECTOR:     0   )194", r"\g<1>190"),
    "managed": Case("MX-4", VTD, "s1-loaded.debug_irq", "(VECTOR:     0   194     )2", r"\g<1>1"),
    "online maps": Case(
        "MX-8", VTD, "s1-loaded.debug_irq", r"(VECTOR:Online bitmaps:\s+)4", r"\g<1>3"
    ),
    "all available": Case(
        "MX-7", VTD, "s1-loaded.debug_irq", r"(VECTOR:Global available:\s+)778", r"\g<1>777"
    ),
    "reservations": Case(
        "VEC-3", VTD, "s1-loaded.debug_irq", r"(VECTOR:Global reserved:\s+)20", r"\g<1>19"
    ),
    "all allocated": Case(
        "MX-9", VTD, "s1-loaded.debug_irq", r"(VECTOR:Total allocated:\s+)30", r"\g<1>31"
    ),
    # The remapping table and the messages.
    "an index": Case("INT-5", VTD, "s1-loaded.msixtab", "FEE00618", "FEE005F8"),
    "a sub-handle": Case(
        "INT-5", VTD, "s1-loaded.msixtab", "(FEE00618 0x0+ 0x0000000)0", r"\g<1>1"
    ),
    "another format": Case("INT-5", VTD, "s1-loaded.msixtab", "FEE00618", "FEE02004"),
    "no message": Case("INT-5", VTD, "s1-loaded.msixtab", "FEE00618", "00000000"),
    "an MSI's index": Case("INT-5", VTD, "s1-loaded.pciconfig", "013011802e0fe", "013013802e0fe"),
    "a column": Case("INT-6", VTD, "s1-loaded.ir_translation", "^( 48 .* )26( )", r"\g<1>27\2"),
    "an entry's vector": Case(
        "INT-6", VTD, "s1-loaded.ir_translation", "^( 48 .* )26(.*)260009", r"\g<1>27\g<2>270009"
    ),
    "an entry's CPU": Case(
        "INT-6",
        VTD,
        "s1-loaded.ir_translation",
        "^( 48 .*)00000200( .*\t)00000200(00260009)",
        r"\g<1>00000100\g<2>00000100\3",
    ),
    "an entry's source": Case(
        "INT-12",
        VTD,
        "s1-loaded.ir_translation",
        "(48 +)00:0a.0(.*)40050",
        r"\g<1>00:09.0\g<2>40048",
    ),
    "any source": Case("INT-12", VTD, "s1-loaded.ir_translation", "(48 .*)40050", r"\g<1>00050"),
    "not present": Case("INT-6", VTD, "s1-loaded.ir_translation", "(48 .*260)009", r"\g<1>008"),
    "an entry of nobody": Case("INT-1", VTD, "s1-loaded.ir_translation", "^ 48 ", " 49 "),
    "an entry twice": Case("INT-1", VTD, "s1-loaded.ir_translation", "^ 48 ", " 47 "),
    "a placeholder": Case(
        "INT-9", VTD, "s1-loaded.ir_translation", "(36 .*) ef (.*)ef0009", r"\1 20 \g<2>200009"
    ),
    "an affinity": Case(
        "VEC-14", VTD, "s1-loaded.proc_irq", "(/53/effective_affinity_list:)2", r"\g<1>1-2"
    ),
    # Without remapping.
    "a message's vector": Case("MSI-8", PLAIN, "s1-loaded.msixtab", "0x00000029", "0x0000002a"),
    "a message's CPU": Case("MSI-8", PLAIN, "s1-loaded.msixtab", "FEE02004(.*29 )", r"FEE04004\1"),
    "an MSI's vector": Case("MSI-8", PLAIN, "s1-loaded.pciconfig", "(0440e0fe0+)28", r"\g<1>29"),
    "an erased message": Case(
        "MSI-8", PLAIN, "s1-loaded.msixtab", "0xFEE02004(.*)29 ", r"0x00000000\g<1>00 "
    ),
    "an unstarted irq": Case("MSI-8", PLAIN, "s1-loaded.msixtab", "0x00000029", "0x000000ef"),
    "an affinity without": Case(
        "VEC-14", PLAIN, "s1-loaded.proc_irq", r"(/33/eff\w+_list:)1", r"\g<1>2"
    ),
    "a hwirq of another": Case(
        "PCI-4", PLAIN, "s1-loaded.sys_kernel_irq", "(/45/hwirq:)49155", r"\g<1>32771"
    ),
    # Under Xen.
    "a native MSI": Case(
        "XB-6", XEN, "s1-loaded.interrupts", "( 44: .*)xen-pirq    -msi-x ", r"\1PCI-MSI 1-edge "
    ),
    "an event channel": Case(
        "XB-6", XEN, "s1-loaded.interrupts", "( 44: .*)xen-pirq    -msi-x", r"\1xen-dyn   -event"
    ),
    "another kind": Case("XB-8", XEN, "s1-loaded.interrupts", "( 44: .*)-msi-x ", r"\1-msi "),
    "a kind in Xen's list": Case("XB-8", XEN, "s1-loaded.xenkeys", "MSI-X(   27 )", r"MSI  \1"),
    "no MSI in Xen's list": Case(
        "XEN-4", XEN, "s1-loaded.xenkeys", "(IRQ:  27.*)PCI-MSI/-X   ", r"\1IO-APIC-edge "
    ),
    "a pirq twice": Case("XEN-4", XEN, "s1-loaded.xenkeys", "(IRQ:  27.*d0:)412", r"\g<1>411"),
    "a pirq of another domain": Case(
        "XEN-4", XEN, "s1-loaded.xenkeys", "(IRQ:  27.*)d0:412", r"\1d1:412"
    ),
    "a pirq of nobody": Case(
        "XEN-4", XEN, "s1-loaded.xenkeys", "(IRQ:  27.*)in-flight=0 d0:412.*", r"\1mapped, unbound"
    ),
    "fewer MSIs of a device": Case("XEN-4", XEN, "s1-loaded.xenkeys", "< 26 27 28 >", "< 26 27 >"),
    "another device's MSI": Case(
        "XEN-4",
        XEN,
        "s1-loaded.xenkeys",
        "00:03.0 - d0 - node -1 ",
        "00:03.0 - d0 - node -1  - MSIs < 26 >",
    ),
    "a vector in Xen's list": Case(
        "XB-11", XEN, "s1-loaded.xenkeys", "(IRQ:  27 vec:)39", r"\g<1>3a"
    ),
    "a vector of Xen's MSI": Case(
        "XB-11", XEN, "s1-loaded.xenkeys", "(MSI-X   27 vec=)39", r"\g<1>3a"
    ),
    "the guest's own message": Case("XB-11", XEN, "s1-loaded.msixtab", "0x00004139", "0x0000413a"),
    "another CPU of Xen's": Case(
        "XB-11", XEN, "s1-loaded.msixtab", "FEE0100C(.*4139)", r"FEE0200C\1"
    ),
}

# SPDX-License-Identifier: GPL-2.0-only
"""What VT-d reads: table entries, messages and route entries (include/linux/dmar.h, v5.10).

A device behind VT-d does not name a CPU and a vector but an entry of its unit's table, by a handle
(the first entry of its block) and a sub-handle.  The entry says where the interrupt goes and which
requester may use it.
"""

from dataclasses import dataclass, replace

from impl.arch.x86.io_apic_regs import IoApicRouteEntry
from impl.arch.x86.msidef import MSI_ADDR_BASE_LO

__all__ = [
    "INTR_REMAP_TABLE_ENTRIES",
    "SQ_13_IGNORE_1",
    "SQ_13_IGNORE_2",
    "SQ_13_IGNORE_3",
    "SQ_ALL_16",
    "SVT_NO_VERIFY",
    "SVT_VERIFY_BUS",
    "SVT_VERIFY_SID_SQ",
    "Irte",
    "compose_ir_ioapic_entry",
    "compose_ir_msi_msg",
    "decode_ir_msi_msg",
    "ir_hwirq",
    "ir_ioapic_index",
    "irte_accepts",
    "irte_apicid",
    "irte_dest",
    "is_remappable",
    "pack_irte",
    "unpack_irte",
]

INTR_REMAP_TABLE_ENTRIES = 65536
"""The size of every unit's table; an index has 16 bits."""

SVT_NO_VERIFY = 0
"""Any requester may use the entry."""
SVT_VERIFY_SID_SQ = 1
"""The requester's id must be the entry's, in the bits that the entry's `sq` does not ignore."""
SVT_VERIFY_BUS = 2
"""The requester's bus must lie in the range that the two bytes of the entry's `sid` name."""

SQ_ALL_16 = 0
SQ_13_IGNORE_1 = 1
SQ_13_IGNORE_2 = 2
SQ_13_IGNORE_3 = 3

# The bits of a requester id that count for each SQ value; only function numbers are ever ignored.
_SQ_MASKS = (0xFFFF, 0xFFFB, 0xFFF9, 0xFFF8)

_U32 = 0xFFFFFFFF
_U64 = 0xFFFFFFFFFFFFFFFF

_ADDR_FORMAT = 1 << 4
_ADDR_SHV = 1 << 3


@dataclass(frozen=True, slots=True)
class Irte:
    """A table entry (struct irte); all zero means that nothing may use it.

    Without `pst` it is remapped: `vector` at `dest_id`, in the modes of a message.  With `pst` it
    is posted: the interrupt is noted for `vector` in the descriptor at address `pda`, which is a
    multiple of 64.  `fpd` keeps faults quiet.  `sid`, `sq` and `svt` restrict the requesters
    (SVT_*, SQ_*).
    """

    present: int = 0
    fpd: int = 0
    dst_mode: int = 0
    redir_hint: int = 0
    trigger_mode: int = 0
    dlvry_mode: int = 0
    avail: int = 0
    urgent: int = 0
    pst: int = 0
    vector: int = 0
    dest_id: int = 0
    pda: int = 0
    sid: int = 0
    sq: int = 0
    svt: int = 0


def pack_irte(irte: Irte) -> tuple[int, int]:
    """The two 64-bit words of an entry, the lower one first; unpack_irte's inverse."""
    low = irte.present | irte.fpd << 1 | irte.avail << 8 | irte.pst << 15 | irte.vector << 16
    high = irte.sid | irte.sq << 16 | irte.svt << 18
    if irte.pst:
        low |= irte.urgent << 14 | (irte.pda & _U32) >> 6 << 38
        high |= irte.pda >> 32 << 32
    else:
        low |= irte.dst_mode << 2 | irte.redir_hint << 3 | irte.trigger_mode << 4
        low |= irte.dlvry_mode << 5 | irte.dest_id << 32
    return low, high


def unpack_irte(low: int, high: int) -> Irte:
    """The entry that two words mean; reserved bits, and those of the other format, are ignored."""
    shared = Irte(
        present=low & 1,
        fpd=low >> 1 & 1,
        avail=low >> 8 & 0xF,
        pst=low >> 15 & 1,
        vector=low >> 16 & 0xFF,
        sid=high & 0xFFFF,
        sq=high >> 16 & 3,
        svt=high >> 18 & 3,
    )
    if shared.pst:
        return replace(shared, urgent=low >> 14 & 1, pda=low >> 38 << 6 | high >> 32 << 32)
    return replace(
        shared,
        dst_mode=low >> 2 & 1,
        redir_hint=low >> 3 & 1,
        trigger_mode=low >> 4 & 1,
        dlvry_mode=low >> 5 & 7,
        dest_id=low >> 32,
    )


def irte_dest(apicid: int, eim_mode: bool) -> int:
    """The destination field for an APIC id: as it is in x2APIC mode, else above bit 8 (IRTE_DEST).

    pre: 0 <= apicid <= 0xFFFFFFFF
    pre: eim_mode or apicid < 256
    post: 0 <= _ <= 0xFFFFFFFF and irte_apicid(_, eim_mode) == apicid
    """
    return apicid if eim_mode else apicid << 8 & _U32


def irte_apicid(dest_id: int, eim_mode: bool) -> int:
    """The APIC id that a destination field means; xAPIC mode looks at 8 bits.

    pre: 0 <= dest_id <= 0xFFFFFFFF
    post: _ == (dest_id if eim_mode else dest_id >> 8 & 0xFF)
    """
    return dest_id if eim_mode else dest_id >> 8 & 0xFF


def irte_accepts(irte: Irte, sid: int) -> bool:
    """Whether a requester may use an entry; a reserved `svt` forbids it to all.

    pre: 0 <= sid <= 0xFFFF and 0 <= irte.sid <= 0xFFFF and 0 <= irte.sq < 4
    pre: 0 <= irte.svt < 4
    post: irte.svt != 0 or _
    post: irte.svt != 1 or not _ or irte.sid >> 3 == sid >> 3
    post: irte.svt != 1 or irte.sq != 0 or _ == (irte.sid == sid)
    post: irte.svt != 2 or _ == (irte.sid >> 8 <= sid >> 8 <= irte.sid & 0xFF)
    """
    if irte.svt == SVT_VERIFY_SID_SQ:
        return not (irte.sid ^ sid) & _SQ_MASKS[irte.sq]
    if irte.svt == SVT_VERIFY_BUS:
        return irte.sid >> 8 <= sid >> 8 <= irte.sid & 0xFF
    return irte.svt == SVT_NO_VERIFY


def compose_ir_msi_msg(index: int, sub_handle: int) -> tuple[int, int, int]:
    """The lower half of the address, its upper half, and the data word for a handle.

    All messages of a block have the address in common; the sub-handle is what tells them apart.

    pre: 0 <= index <= 0xFFFF and 0 <= sub_handle <= 0xFFFF
    post: _[0] >> 20 == 0xFEE and _[0] >> 3 & 3 == 3 and not _[0] & 3
    post: is_remappable(_[0]) and _[1:] == (0, sub_handle)
    post: decode_ir_msi_msg(_[0], _[2]) == (index, sub_handle)
    """
    address_lo = MSI_ADDR_BASE_LO | _ADDR_FORMAT | _ADDR_SHV
    address_lo |= (index & 0x7FFF) << 5 | (index >> 15) << 2
    return address_lo, 0, sub_handle


def is_remappable(address_lo: int) -> bool:
    """Whether an address has the remappable format; the other one is the compatibility format.

    pre: 0 <= address_lo <= 0xFFFFFFFF
    post: _ == (address_lo & 0x10 != 0)
    """
    return bool(address_lo & _ADDR_FORMAT)


def decode_ir_msi_msg(address_lo: int, data: int) -> tuple[int, int]:
    """The handle and the sub-handle of a remappable message.

    The sub-handle is 0 if the address does not say that there is one.

    pre: 0 <= address_lo <= 0xFFFFFFFF and 0 <= data <= 0xFFFFFFFF
    post: 0 <= _[0] <= 0xFFFF and 0 <= _[1] <= 0xFFFF
    """
    index = address_lo >> 5 & 0x7FFF | (address_lo >> 2 & 1) << 15
    return index, data & 0xFFFF if address_lo & _ADDR_SHV else 0


def compose_ir_ioapic_entry(index: int, pin: int, trigger: int, polarity: int) -> IoApicRouteEntry:
    """The route entry of a pin in the remappable format, masked if it is level triggered.

    The vector is the pin: it only tells the IO-APIC which entry an end of interrupt is for.

    pre: 0 <= index <= 0xFFFF and 0 <= pin < 256 and 0 <= trigger < 2 and 0 <= polarity < 2
    post: ir_ioapic_index(_) == index and _.vector == pin
    post: (_.trigger, _.polarity, _.mask) == (trigger, polarity, trigger)
    """
    handle = index & 0x7FFF
    return IoApicRouteEntry(
        vector=pin,
        dest_mode=index >> 15,
        polarity=polarity,
        trigger=trigger,
        mask=trigger,
        dest=handle >> 7,
        remap=(handle & 0x7F) << 1 | 1,
    )


def ir_ioapic_index(entry: IoApicRouteEntry) -> int | None:
    """The handle in a route entry, None if the entry does not have the remappable format.

    pre: 0 <= entry.dest < 256 and 0 <= entry.remap < 256 and 0 <= entry.dest_mode < 2
    post: (_ is None) == (not entry.remap & 1)
    post: _ is None or 0 <= _ <= 0xFFFF
    """
    if not entry.remap & 1:
        return None
    return entry.dest_mode << 15 | entry.dest << 7 | entry.remap >> 1


def ir_hwirq(index: int, sub_handle: int) -> int:
    """The hwirq of a member of a block in its unit's domain, an unsigned number of 64 bits.

    The kernel computes it as an int, so from index 32768 on it is widened with ones (INT-4).

    pre: 0 <= index <= 0xFFFF and 0 <= sub_handle <= 0xFFFF
    post: 0 <= _ < 1 << 64 and _ & 0xFFFFFFFF == index << 16 | sub_handle
    post: _ >> 32 == (0xFFFFFFFF if index >> 15 else 0)
    """
    number = index << 16 | sub_handle
    return number | (_U64 ^ _U32) if number >> 31 else number

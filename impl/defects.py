# SPDX-License-Identifier: GPL-2.0-only
"""Historic defects of the interrupt matrix and the x86 vector domain, as switches.

A machine is built with a set of these.  The empty set is the repaired stack; each member brings one
v5.10 behaviour back.  Situations that the environment alone enters (a CPU that leaves while an
idle interrupt owns a vector there, a managed mask changed by a driver, a full target CPU) are not
defects of a function and have no switch.
"""

import enum

__all__ = ["Defect"]


class Defect(enum.Enum):
    """A v5.10 behaviour that later kernels, or this project, repaired; off unless asked for."""

    H1 = "H1"
    """A move whose old CPU went away is forgotten, so the old CPU's bit stays allocated for ever.

    Off: the completion frees the bit (as in 6.1), and the take-down walk completes every move that
    involves the outgoing CPU before it looks for a reason to skip the interrupt (as in 6.12)."""

    H4 = "H4"
    """A managed interrupt may be moved again while the clean-up of its last move is outstanding.

    Off: assign_managed_vector answers -EBUSY while a move is pending."""

    H5 = "H5"
    """The legacy take-over of the PIC cascade frees a bit that the matrix never handed out.

    Off: x86_vector_alloc_irqs refuses the cascade with -EINVAL."""

    H6 = "H6"
    """Activating a fixed interrupt reports success although no vector was found.

    Off: x86_vector_activate returns the error."""

    H9 = "H9"
    """An activation that finds the vector in place keeps a stale effective affinity.

    It was stored when the affinity of the inactive interrupt changed; if it lacks the CPU that the
    interrupt stays on, the take-down of that CPU leaves the interrupt behind.

    Off: the effective affinity becomes the CPU of the vector."""

    MX_D1 = "MX-D1"
    """Managed (un)reservation does not touch `available` of an initialized CPU that is offline.

    Off: that CPU's `available` follows; global_available, which excludes offline CPUs, does not."""

    MX_D2 = "MX-D2"
    """A free on an offline map leaves total_allocated too high for ever.

    Off: irq_matrix_free always decrements total_allocated."""

    MX_D3 = "MX-D3"
    """Freeing a clear bit still runs every counter update.

    Off: it warns and changes nothing."""

    MX_D4 = "MX-D4"
    """assign_system accepts the bit just behind the bitmap.

    Off: a bit at or beyond matrix_bits is a BUG."""

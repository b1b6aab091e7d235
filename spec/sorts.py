# SPDX-License-Identifier: GPL-2.0-only
"""The sorts that several layers share."""

from __future__ import annotations

from spec.terms import Sort

__all__ = ["DOMAIN", "FWNODE", "HWIRQ", "IRQ", "TOKEN"]

IRQ = Sort("Irq")
"""Linux irq numbers (virqs)."""

DOMAIN = Sort("Domain")
"""Irq domains, past, present and to come: a number stands for one domain only."""

HWIRQ = Sort("Hwirq")
"""The numbers by which domains know interrupts."""

TOKEN = Sort("Token")
"""Bus tokens other than DOMAIN_BUS_ANY, which is none."""

FWNODE = Sort("Fwnode")
"""Firmware nodes."""

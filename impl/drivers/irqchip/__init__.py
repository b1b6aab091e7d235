# SPDX-License-Identifier: GPL-2.0-only
"""Interrupt chips (drivers/irqchip)."""

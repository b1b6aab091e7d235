# SPDX-License-Identifier: GPL-2.0-only
"""The x86 interrupt code (arch/x86/kernel)."""

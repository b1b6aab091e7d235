# SPDX-License-Identifier: GPL-2.0-only
"""What all devices have in common (drivers/base)."""

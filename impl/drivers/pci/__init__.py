# SPDX-License-Identifier: GPL-2.0-only
"""The PCI bus (drivers/pci)."""

# SPDX-License-Identifier: GPL-2.0-only
"""Interrupt remapping: its core and the drivers of remapping units (drivers/iommu/, v5.10)."""

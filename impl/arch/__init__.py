# SPDX-License-Identifier: GPL-2.0-only
"""Parts that belong to an architecture."""

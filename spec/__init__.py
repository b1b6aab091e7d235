# SPDX-License-Identifier: GPL-2.0-only
"""What must always hold: the executable specification. Imports nothing but itself."""

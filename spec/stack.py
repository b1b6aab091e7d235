# SPDX-License-Identifier: GPL-2.0-only
"""The specification as a whole: every layer, with its actions and operations."""

from spec import vector_actions, vector_operations, vector_theorems
from spec.vectors import vectors

LAYERS = (vector_actions, vector_operations, vector_theorems)
"""The modules that declare what can happen; importing them completes the layers."""

stack = vectors
"""The uppermost layer."""

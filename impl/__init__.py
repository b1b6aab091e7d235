# SPDX-License-Identifier: GPL-2.0-only
"""The interrupt allocation stack in Python, laid out and named as in the kernel (v5.10).

Two rules hold for everything below: nothing here imports the specification or a checker, and a
function that has a counterpart in the kernel has its name, its order of steps and its results
(negative errno values are returned, not raised).
"""

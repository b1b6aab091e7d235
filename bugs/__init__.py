# SPDX-License-Identifier: GPL-2.0-only
"""The catalogue of faults, empty of entries so far.

An entry is one small file: the fault's identity, how to seed it into the implementation, what
triggers it, and the invariant that must then be seen to fall.
"""

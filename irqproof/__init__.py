# SPDX-License-Identifier: GPL-2.0-only
"""The ``irqproof`` command: one file a verb, and the reports that verbs print.

Nothing here decides a verdict; ``proofs`` does. This module and ``irqproof.cli`` import nothing
heavy, so that ``irqproof --help`` answers at once.
"""

__version__ = "0.1.0"

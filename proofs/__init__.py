# SPDX-License-Identifier: GPL-2.0-only
"""Everything that decides whether an invariant holds, and nothing that prints a report.

Read ``verdict`` first (what an answer may be), then ``result`` (what an answer carries).
"""

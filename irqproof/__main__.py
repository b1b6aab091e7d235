# SPDX-License-Identifier: GPL-2.0-only
"""``python -m irqproof`` is the command ``irqproof``."""

import sys

from irqproof.cli import main

if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-2.0-only
"""Writing files so that a reader sees all of one or none of it."""

import os
import secrets
from pathlib import Path


def write_atomically(file: Path, content: str) -> None:
    """Make ``file`` hold ``content`` (as UTF-8), never half of it; raises OSError if that fails.

    What a symbolic link points to is replaced, not the link. A pipe or a device such as
    /dev/stdout cannot be replaced and is written to.
    """
    target = file.resolve()
    if target.exists() and not target.is_file():
        target.write_text(content, encoding="utf-8")
        return
    temporary = target.with_name(f".{target.name[:64]}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "x", encoding="utf-8") as stream:
            stream.write(content)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

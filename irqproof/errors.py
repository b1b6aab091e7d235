# SPDX-License-Identifier: GPL-2.0-only
"""Errors that are the user's to mend."""


class UserError(Exception):
    """A command line or an input file that makes no sense.

    The command prints one line and exits with the usage code.

    >>> print(UserError("no event name", file="trace.txt", line=12))
    trace.txt:12: error: no event name
    >>> print(UserError("empty", file="trace.txt"))
    trace.txt: error: empty
    >>> print(UserError("unknown verb"))
    irqproof: error: unknown verb
    """

    def __init__(self, message: str, *, file: str = "", line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line

    def __str__(self) -> str:
        place = self.file or "irqproof"
        if self.file and self.line is not None:
            place = f"{self.file}:{self.line}"
        # One line, whatever a message was made of.
        return f"{place}: error: {' '.join(self.message.split())}"

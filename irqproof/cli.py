# SPDX-License-Identifier: GPL-2.0-only
"""The ``irqproof`` command: finds the verb, runs it, and turns what happens into an exit code.

A verb is a module ``irqproof.VERB`` with two functions: ``configure(parser)`` declares its options
and ``run(options)`` does the work and returns the exit code. It is imported only when it is asked
for, and should import what is heavy inside ``run``: help must come at once.
"""

import argparse
import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final, NoReturn, Protocol, cast

from irqproof import __version__
from irqproof.errors import UserError
from proofs.verdict import EXIT_INTERRUPTED, EXIT_PIPE, EXIT_USAGE, Verdict, exit_code

VERBS: Final = {
    "check": "check every invariant: proofs for every size, exploration, tests",
    "replay": "replay a log or a counterexample and say what it violates",
    "soak": "run random programs on whole machines for minutes, and keep those that fail",
    "show": "show the specification: invariants, actions, one by its id",
}

_EPILOG: Final = """\
exit codes: 0 everything proved or held, 1 something refuted, 2 bad usage or input,
            3 undetermined, 130 interrupted

'irqproof VERB --help' tells a verb's options."""


class Verb(Protocol):
    """What a verb's module offers."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the verb's options."""

    def run(self, options: argparse.Namespace) -> int:
        """Do the work; returns the exit code, raises UserError for what the user got wrong."""


class SupportsWrite(Protocol):
    """Something to print on."""

    def write(self, text: str, /) -> object:
        """Print the text."""


class Parser(argparse.ArgumentParser):
    """A parser that reports a usage error as one line."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError instead of printing the usage and leaving."""
        raise UserError(message)

    def print_help(self, file: SupportsWrite | None = None) -> None:
        """Print the help; unlike the inherited method, let the caller know if that fails."""
        (file or sys.stdout).write(self.format_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default the process's own; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # A name in a log or a box-drawing character must not end a run on a terminal that lacks it.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            code = _dispatch(arguments)
        except SystemExit as left:
            # This is how argparse ends after it printed help.
            code = int(left.code or 0)
        sys.stdout.flush()
    except UserError as error:
        return _fail(str(error), EXIT_USAGE)
    except KeyboardInterrupt:
        return _fail("irqproof: interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        _drop_output()
        return EXIT_PIPE
    except OSError as error:
        # A full disk behind standard output, or a file that went away: never our own mistake.
        _drop_output()
        return _fail(str(UserError(str(error))), EXIT_USAGE)
    except Exception as error:
        # The exit code of an uncaught exception is 1, which would read as "refuted".
        traceback.print_exc()
        line = f"irqproof: internal error, nothing was decided: {error}"
        return _fail(line, exit_code(Verdict.UNDETERMINED))
    return code


def _dispatch(arguments: Sequence[str]) -> int:
    options, rest = _top_parser().parse_known_args(_up_to_verb(arguments))
    verb: str | None = options.verb
    if options.version:
        print(f"irqproof {__version__}")
        return 0
    if verb is None:
        raise UserError(f"which verb? one of {', '.join(VERBS)}; --help tells more")
    if verb not in VERBS:
        raise UserError(f"unknown verb {verb!r}; the verbs are {', '.join(VERBS)}")
    if rest:
        raise UserError(f"unknown option {rest[0]!r} before the verb")
    module = cast(Verb, importlib.import_module(f"irqproof.{verb}"))
    parser = Parser(prog=f"irqproof {verb}", description=VERBS[verb] + ".", allow_abbrev=False)
    module.configure(parser)
    return module.run(parser.parse_args(arguments[list(arguments).index(verb) + 1 :]))


def _top_parser() -> Parser:
    verbs = "\n".join(f"  {verb:8} {line}" for verb, line in VERBS.items())
    parser = Parser(
        prog="irqproof",
        usage="irqproof VERB [options]",
        description="Prove and test interrupt management against one specification.\n\n"
        f"verbs:\n{verbs}",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    parser.add_argument("verb", nargs="?", help=argparse.SUPPRESS)
    return parser


def _up_to_verb(arguments: Sequence[str]) -> list[str]:
    """The arguments up to the first word, so that a verb's own options are left alone."""
    words = (place for place, text in enumerate(arguments) if not text.startswith("-"))
    return list(arguments[: next(words, len(arguments)) + 1])


def _drop_output() -> None:
    """Send what is still buffered nowhere: Python flushes as it exits, and would fail again."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

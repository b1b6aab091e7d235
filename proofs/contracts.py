# SPDX-License-Identifier: GPL-2.0-only
"""CrossHair tries to break the contracts of the implementation's pure functions.

A contract is the `pre:` and `post:` lines of a docstring (PEP 316). CrossHair runs the function on
symbolic arguments, one path after the other, and asks Z3 for arguments that take the path and
break a condition. Where it exhausts the paths the function is proved; else it holds on as many
paths in a row as found nothing new.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from proofs.result import Result, Task
from proofs.verdict import Verdict

SUBJECT: Final = "contracts"
SENTENCE: Final = "The pure functions keep the contracts in their docstrings."

MODULES: Final = (
    "impl.arch.x86.io_apic_regs",
    "impl.arch.x86.msidef",
    "impl.arch.x86.xen_message",
    "impl.drivers.iommu.intel_irte",
    "impl.drivers.pci.msi_regs",
    "impl.kernel.bitmap",
)
"""The modules whose functions have contracts."""

_PATHS: Final = 100
"""CrossHair gives a condition up after so many paths in a row without anything new."""

_PATH_SECONDS: Final = 10.0
"""Seconds of processor time that one path may take."""


def tasks() -> tuple[Task, ...]:
    """A task for each module."""
    return tuple(
        Task(
            name=f"contracts {name}",
            group="contracts",
            weight=4.0,
            key=_key(name),
            run=functools.partial(check_named, name),
            subjects=(SUBJECT,),
        )
        for name in MODULES
    )


def _key(name: str) -> str:
    own = Path(__file__)
    module = own.parent.parent.joinpath(*name.split(".")).with_suffix(".py")
    digest = hashlib.sha256(f"{version('crosshair-tool')} {version('z3-solver')}".encode())
    for file in (module, own, own.with_name("concolic.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def check_named(name: str) -> tuple[Result, ...]:
    """Check the module of this name."""
    return check(importlib.import_module(name))


def check(module: ModuleType) -> tuple[Result, ...]:
    """One result for each function of `module` that has a contract, in order of their names.

    PROVED if CrossHair exhausted the paths, HELD if it gave up, REFUTED with the arguments that
    break a condition; UNDETERMINED if no argument satisfies the preconditions or a contract is
    not understood."""
    return tuple(_checked(name, function) for name, function in contracted(module))


def contracted(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The functions of `module` that have a contract."""
    for name, member in inspect.getmembers(module, inspect.isfunction):
        if member.__module__ == module.__name__ and "post:" in (member.__doc__ or ""):
            yield name, member


def _checked(name: str, function: Callable[..., Any]) -> Result:
    start = time.perf_counter()
    verdict, detail = _ask_crosshair(function)
    return Result(
        subject=SUBJECT,
        check=f"contract {name}",
        method="crosshair",
        verdict=verdict,
        seconds=time.perf_counter() - start,
        solver=f"crosshair {version('crosshair-tool')}",
        bound=f"{_PATHS} paths a condition" if verdict is Verdict.HELD else "",
        detail=detail,
    )


def _ask_crosshair(function: Callable[..., Any]) -> tuple[Verdict, str]:
    from crosshair.core_and_libs import analyze_function, run_checkables
    from crosshair.options import AnalysisKind, AnalysisOptionSet
    from crosshair.statespace import MessageType

    from proofs import concolic

    concolic.install()
    options = AnalysisOptionSet(
        analysis_kind=(AnalysisKind.PEP316,),
        max_uninteresting_iterations=_PATHS,
        per_path_timeout=_PATH_SECONDS,
        report_all=True,
    )
    with warnings.catch_warnings():
        # In search of subclasses CrossHair looks at all that is loaded, deprecated or not.
        warnings.simplefilter("ignore", DeprecationWarning)
        messages = run_checkables(analyze_function(function, options))
    weak = (MessageType.CONFIRMED, MessageType.CANNOT_CONFIRM)
    for message in messages:
        if message.state in (MessageType.POST_FAIL, MessageType.EXEC_ERR, MessageType.POST_ERR):
            return Verdict.REFUTED, message.message
        if message.state not in weak:
            return Verdict.UNDETERMINED, message.message
    if not messages:
        return Verdict.UNDETERMINED, "no condition was found"
    proved = all(message.state is MessageType.CONFIRMED for message in messages)
    return Verdict.PROVED if proved else Verdict.HELD, ""

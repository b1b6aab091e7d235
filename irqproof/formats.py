# SPDX-License-Identifier: GPL-2.0-only
"""The report of a run for machines: JSON (docs/json.md), JUnit XML, KTAP version 1."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final
from xml.etree import ElementTree

from irqproof import __version__
from irqproof.summary import Report, Subject
from proofs.render import render
from proofs.result import Result
from proofs.verdict import JUNIT_ELEMENT, KTAP_RESULT, Verdict, exit_code

JSON_FORMAT: Final = "irqproof-check/1"

# What XML 1.0 cannot hold, not even escaped.
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_json(report: Report) -> str:
    """The whole report; docs/json.md says what each member means."""
    options = report.options
    document = {
        "format": JSON_FORMAT,
        "version": __version__,
        "verdict": report.verdict.value,
        "exit_code": exit_code(report.verdict),
        "interrupted": report.interrupted,
        "options": {
            "only": list(options.only),
            "machines": list(options.machines),
            "scope": None if options.scope is None else str(options.scope),
            "seed": options.seed,
            "switches": list(options.switches),
        },
        "counts": {verdict.value: report.count(verdict) for verdict in Verdict},
        "subjects": [_json_subject(subject) for subject in report.subjects],
    }
    return json.dumps(document, indent=1) + "\n"


def to_junit(report: Report) -> str:
    """JUnit XML: a suite for each invariant, a test case for each result."""
    root = ElementTree.Element("testsuites", _junit_counts(report.results), name="irqproof check")
    for subject in report.subjects:
        suite = ElementTree.SubElement(
            root, "testsuite", _junit_counts(subject.results), name=_xml(subject.name)
        )
        _junit_properties(suite, [("sentence", subject.sentence), *_junit_options(report)])
        for result in subject.results:
            _junit_case(suite, result)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(
        root, encoding="unicode"
    )


def to_ktap(report: Report) -> str:
    """KTAP version 1: a test for each invariant, a subtest for each result."""
    return "\n".join(_ktap_lines(report)) + "\n"


def _json_subject(subject: Subject) -> dict[str, Any]:
    return {
        "subject": subject.name,
        "sentence": subject.sentence,
        "verdict": subject.verdict.value,
        "standing": list(subject.standing()),
        "results": [result.to_json() for result in subject.results],
    }


def _junit_counts(results: tuple[Result, ...]) -> dict[str, str]:
    kinds = [JUNIT_ELEMENT[result.verdict] for result in results]
    return {
        "tests": str(len(results)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "time": f"{sum(result.seconds for result in results):.3f}",
    }


def _junit_options(report: Report) -> Iterator[tuple[str, str]]:
    yield "seed", str(report.options.seed)
    if report.options.scope is not None:
        yield "scope", str(report.options.scope)
    for machine in report.options.machines:
        yield "machine", machine
    for switch in report.options.switches:
        yield "switch", switch


def _junit_case(suite: ElementTree.Element, result: Result) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=_xml(result.subject),
        name=_xml(result.check),
        time=f"{result.seconds:.3f}",
    )
    properties = [
        ("verdict", result.verdict.value),
        ("method", result.method),
        ("solver", result.solver),
        ("bound", result.bound),
        *(("assumed", assumption) for assumption in result.assumed),
        ("cached", "true" if result.cached else ""),
    ]
    _junit_properties(case, properties)
    element = JUNIT_ELEMENT[result.verdict]
    if element is not None:
        message = " ".join((result.detail or f"{result.subject} {result.verdict.value}").split())
        outcome = ElementTree.SubElement(
            case, element, type=result.verdict.value, message=_xml(message)
        )
        outcome.text = _xml(_story(result))


def _junit_properties(parent: ElementTree.Element, properties: list[tuple[str, str]]) -> None:
    holder = ElementTree.SubElement(parent, "properties")
    for name, value in properties:
        if value:
            ElementTree.SubElement(holder, "property", name=name, value=_xml(value))


def _ktap_lines(report: Report) -> Iterator[str]:
    yield "KTAP version 1"
    yield f"1..{len(report.subjects)}"
    for number, subject in enumerate(report.subjects, start=1):
        yield "  KTAP version 1"
        yield f"  1..{len(subject.results)}"
        for place, result in enumerate(subject.results, start=1):
            yield from (f"  # {line}" for line in _ktap_diagnostics(result))
            yield "  " + _ktap_result(result.verdict, place, result.check)
        yield _ktap_result(subject.verdict, number, subject.name)


def _ktap_diagnostics(result: Result) -> list[str]:
    if result.verdict.good:
        bound = f" ({result.bound})" if result.bound else ""
        return [f"{result.verdict.value}{bound}"]
    return [result.verdict.value, *_story(result).splitlines()]


def _ktap_result(verdict: Verdict, number: int, name: str) -> str:
    outcome, directive = KTAP_RESULT[verdict]
    # A hash sign begins the directive, wherever it stands.
    description = " ".join(name.replace("#", " ").split())
    return f"{outcome} {number} {description}" + (f" # {directive}" if directive else "")


def _story(result: Result) -> str:
    parts = [result.detail] if result.detail else []
    if result.counterexample is not None:
        parts.append(render(result.counterexample))
    return "\n".join(parts)


def _xml(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)

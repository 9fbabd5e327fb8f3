"""Findings as workflow commands of GitHub Actions: each becomes an annotation at its line in a pull request."""

from __future__ import annotations

from collections.abc import Iterable

from porter.report.findings import Finding


def workflow_commands(findings: Iterable[Finding]) -> str:
    """A line a finding: `::error file=...,line=...,col=...,title=...::message`."""
    return "\n".join(_annotation(finding) for finding in findings)


def _annotation(finding: Finding) -> str:
    in_one_line = finding.end_line == finding.line  # what spans lines would be shown below the last of them
    given = {
        "file": finding.path,
        "line": finding.line,
        "col": finding.column,
        "endColumn": finding.end_column if in_one_line else None,
        "title": f"porter {finding.kind}",
    }
    properties = ",".join(f"{name}={_property(str(value))}" for name, value in given.items() if value is not None)
    return f"::{finding.level} {properties}::{_message(finding.message)}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")

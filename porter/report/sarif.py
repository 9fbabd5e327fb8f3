"""Findings as a SARIF 2.1.0 log: what code scanning services and editors read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import porter
from porter.report.findings import KINDS, Finding

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif_log(findings: Sequence[Finding]) -> dict[str, Any]:
    """One run of porter; every kind of finding is a rule of the driver."""
    kinds = sorted({finding.kind for finding in findings})
    driver = {"name": "porter", "version": porter.__version__, "rules": [_rule(kind) for kind in kinds]}
    results = [_result(finding, kinds.index(finding.kind)) for finding in findings]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(kind: str) -> dict[str, Any]:
    return {"id": kind, "shortDescription": {"text": KINDS.get(kind, f"An error of porter, {kind}.")}}


def _result(finding: Finding, index: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.kind,
        "ruleIndex": index,
        "level": finding.level,
        "message": {"text": finding.message},
    }
    if finding.path is not None:
        result["locations"] = [{"physicalLocation": _place(finding, finding.path)}]
    return result


def _place(finding: Finding, path: str) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(path)}}
    lines = {
        "startLine": finding.line,
        "startColumn": finding.column,
        "endLine": finding.end_line,
        "endColumn": finding.end_column,
    }
    region = {name: value for name, value in lines.items() if value is not None}
    return {**place, "region": region} if region else place


def _uri(path: str) -> str:
    return Path(path).as_uri() if path.startswith("/") else quote(path)

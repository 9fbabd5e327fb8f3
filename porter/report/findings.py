"""What is wrong or left at a place of a file, as other programs take it: one form for annotations and SARIF.

Contract: paths are as seen from the current folder where they lie below it, else absolute; lines and columns count
from 1, `end_column` is one past the last.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from porter.diagnostics import Diagnostic

if TYPE_CHECKING:
    from porter.convert import Inspection
    from porter.emit import Difference
    from porter.source import Source


@dataclass(frozen=True)
class Finding:
    """One thing at one place; `kind` is stable: a P-code, or `port-differs` and the like."""

    kind: str
    level: Literal["error", "warning"]
    message: str
    path: str | None = None
    line: int | None = None
    column: int | None = None
    end_line: int | None = None
    end_column: int | None = None


KINDS = {  # what stands behind the kinds that are no P-code
    "port-differs": "A file of the port is not what converting again gives.",
    "port-missing": "A file of the port is not there.",
    "port-foreign": "A file in the port's folder is not from porter.",
    "site-left": "No rule takes this site: it stays as the source has it.",
    "site-partly": "A need of this site is left.",
    "class-unknown": "The model builds a class that porter cannot tell.",
}
_PROBLEMS = {"differs": "port-differs", "missing": "port-missing", "not from porter": "port-foreign"}


def of_refusal(diagnostics: Iterable[Diagnostic], source: Source | None = None) -> Iterator[Finding]:
    for diagnostic in diagnostics:
        level: Literal["error", "warning"] = "warning" if diagnostic.severity == "warning" else "error"
        yield _at(diagnostic, diagnostic.code, level, source)


def of_differing(differences: Iterable[Difference], folder: Path) -> Iterator[Finding]:
    for difference in differences:
        message = difference.problem
        if difference.line:
            there, wanted = (
                "end of file" if text is None else text for text in (difference.there, difference.expected)
            )
            message = f"differs from what converting again gives\nthere:    {there}\nexpected: {wanted}"
        kind = _PROBLEMS.get(difference.problem, "port-differs")
        yield Finding(kind, "error", message, _seen(folder / difference.file), difference.line)


def of_open_sites(inspection: Inspection) -> Iterator[Finding]:
    """Sites that are left, whole or in part, each with where the closest rule parts from it; then unknown classes."""
    from porter.plan import explain

    plan, source = inspection.plan, inspection.source
    status = {site.name: site.status for site in inspection.sites if site.is_left}
    for site in plan.anatomy.sites:
        if site.name in status:
            yield _at(explain(plan, site), f"site-{status[site.name]}", "warning", source)
    for name in plan.anatomy.unknown:
        node = plan.tree.classes.get(name)
        line = plan.tree.line(node) if node is not None else None
        message = f"`{name}` is built by the model, and porter cannot tell what it is"
        yield Finding("class-unknown", "warning", message, _seen(source.path), line)


def _at(diagnostic: Diagnostic, kind: str, level: Literal["error", "warning"], source: Source | None) -> Finding:
    parts = [diagnostic.message, diagnostic.label, *diagnostic.notes]
    message = "\n".join([part for part in parts if part] + ([f"help: {diagnostic.help}"] if diagnostic.help else []))
    span = diagnostic.span
    if span is None:
        return Finding(kind, level, message)
    is_source = source is not None and span.path in (source.display, str(source.path))
    path = source.path if is_source and source is not None else Path(span.path)
    return Finding(
        kind,
        level,
        message,
        _seen(path),
        span.line,
        span.column + 1,
        span.end_line,
        max(span.end_column, span.column) + 1,
    )


def _seen(path: Path) -> str:
    whole, here = os.path.abspath(path), os.getcwd()
    return Path(os.path.relpath(whole, here) if Path(whole).is_relative_to(here) else whole).as_posix()

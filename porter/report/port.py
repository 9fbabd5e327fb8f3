"""What became of a source: every site of it by name, also those that no rule took; and how a port differs on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.plan import SiteReport
from porter.report.blocks import Block, Report, Row, Table, Tone, Words
from porter.rewrite import Ported

if TYPE_CHECKING:  # the text of one command does not pay for the stages of another
    from porter.emit import Difference, Written
    from porter.source import Source


def of_source(source: Source) -> str:
    if source.module is None:
        return source.display
    return f"{source.module} ({source.package} {source.version})" if source.version else source.module


_TONES: dict[str, Tone] = {"partly": "open", "left": "open", "kept": "faint", "verdict": "faint"}


def of_sites(sites: Sequence[SiteReport], *, verbose: bool = True) -> Report:
    """The rules that took each site, or why none did, then the sum; without `verbose` only those that are left."""
    shown = [site for site in sites if verbose or site.is_left]
    counts = Counter(site.status for site in sites)
    kinds = [("ported", "ported"), ("verdict", "right as they are")] if counts["verdict"] else [("ported", "ported")]
    kinds += [("partly", "in part"), ("kept", "kept"), ("left", "left as they are")]
    total = f"{len(sites)} sites: {', '.join(f'{counts[kind]} {words}' for kind, words in kinds)}"
    return [*([_sites(shown)] if shown else []), total]


def _sites(sites: Sequence[SiteReport]) -> Table:
    rows = (Row((site.name, site.kind, str(site.line), _fate(site)), _TONES.get(site.status, "")) for site in sites)
    return Table(("site", "kind", "line", "rule, or why none"), tuple(rows), frozenset({2}))


def _fate(site: SiteReport) -> str:
    if site.status == "ported":
        return ", ".join(site.rules)
    if site.status == "verdict":
        return f"= {site.reason}"
    if site.status == "partly":
        return f"{', '.join(site.rules)} - but {site.reason}"
    return f"- {site.status}: {site.reason}" if site.reason else f"- {site.status}"


def of_conversion(ported: Ported, written: Written, shown_as: Path, *, verbose: bool = False) -> Report:
    """What was written, by which rules, and what is left; `verbose`: every site."""
    *sites, total = of_sites(ported.sites, verbose=verbose)
    lines = [str(total), f"rules: {', '.join(rule for rule, _ in ported.rules)}"]
    split = ported.split_points
    if split is not None:
        against = f", checked against {split.checked_against}" if split.checked_against else ""
        lines.append(f"split points of {split.layer_class}: {', '.join(split.row_parallel) or 'none'}{against}")
        lines += [f"  {note}" for note in split.notes]
    head: Block = f"{of_source(ported.source)} -> {shown_as}"
    return [head, *sites, "\n".join(lines), f"wrote {', '.join(written.files)}"]


def conversion_data(ported: Ported, written: Written, shown_as: Path) -> dict[str, Any]:
    return {
        "name": ported.name,
        "class": ported.causal_class,
        "folder": str(shown_as),
        "files": list(written.files),
        "registered": written.registry is not None,
        "replaced": written.replaced,
        "rules": [rule for rule, _ in ported.rules],
        "sites": sites_data(ported.sites),
    }


def sites_data(sites: Iterable[SiteReport]) -> list[dict[str, Any]]:
    return [
        {
            "site": site.name,
            "kind": site.kind,
            "line": site.line,
            "status": site.status,
            "rules": list(site.rules),
            "reason": site.reason,
        }
        for site in sites
    ]


def of_differences(differences: Sequence[Difference], folder: Path) -> Report:
    lines: list[str] = []
    for difference in differences:
        place = f"{folder / difference.file}" + (f":{difference.line}" if difference.line else "")
        lines.append(f"{place}: {difference.problem}")
        if difference.line:
            lines += [
                f"    there:    {'(end of file)' if difference.there is None else difference.there}",
                f"    expected: {'(end of file)' if difference.expected is None else difference.expected}",
            ]
    return [Words("\n".join(lines), "bad")]


def differences_data(differences: Iterable[Difference]) -> list[dict[str, Any]]:
    return [
        {
            "file": difference.file,
            "problem": difference.problem,
            "line": difference.line,
            "there": difference.there,
            "expected": difference.expected,
        }
        for difference in differences
    ]

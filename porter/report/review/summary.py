"""The words of a summary: what a port is, in lines, for the terminal and for the page."""

from __future__ import annotations

import shlex

from porter.report.review.drawing import Phase
from porter.report.review.values import Review, SiteRow


def facts(review: Review) -> list[tuple[str, str]]:
    """(what, words) of the port: where it is from, what was done."""
    made = review.provenance
    confirmed = "the diff leads back to it" if made.confirmed else "not seen again: the port was changed by hand"
    here = "" if made.porter == made.porter_here else f" (here: {made.porter_here})"
    hunks = sum(len(block.hunks) for block in review.by_rules)
    rows = [
        ("source", f"{made.source} ({made.release})"),
        ("file", f"{made.file}, sha256 {made.sha256[:16]}...: {confirmed}"),
        ("porter", f"{made.porter}{here}: {made.command}"),
        ("sites", f"{len(review.sites)}: {counted(review)}"),
        ("rules", f"{len(review.reasons)} in {len(review.by_rules)} places, {hunks} hunks"),
    ]
    if review.layer.phases:
        said = "; ".join(map(_phase, review.layer.phases))
        rows.append(("kernels", f"a layer, source -> port: {said} [{review.layer.recorded_in}]"))
    if review.layer.note:
        rows.append(("kernels", review.layer.note))
    return [*rows, *([("parallel", review.split)] if review.split else [])]


def counted(review: Review) -> str:
    """What became of the sites; those of unknown classes are counted apart."""
    parts = [f"{review.count('ported')} ported", f"{review.count('verdict')} right as they are"]
    others = {"in part": review.count("partly"), "kept": review.count("kept")}
    parts += [f"{count} {words}" for words, count in others.items() if count]
    return ", ".join([*parts, f"{review.count('left')} left", f"{review.unknown} unknown"])


def why_left(review: Review) -> str:
    """The command that tells why the first site is left that wants more; nothing where none is."""
    row = next((row for row in review.sites if row.status in ("left", "partly")), None)
    return "" if row is None else f"porter why {shlex.quote(review.provenance.source)} {row.site}"


def fate(row: SiteRow) -> str:
    """What became of a site, in words."""
    rules = ", ".join(row.rules)
    if row.status == "ported":
        return rules
    if row.status == "verdict":
        return f"right as it is: {row.reason}"
    if row.status == "partly":
        return f"{rules}, but: {row.reason}"
    return f"{row.status}: {row.reason}" if row.reason else row.status


def _phase(phase: Phase) -> str:
    counts = [side.count if side.count is not None else "does not convert" for side in (phase.source, phase.port)]
    return f"{phase.name} {counts[0]} -> {counts[1]}"

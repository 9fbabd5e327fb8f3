"""A port as it lies there, the rules and what was recorded of it -> the review, as a value. Nothing is read here."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import porter
from porter.emit.lines import lines_of
from porter.emit.patch import DiffLine
from porter.emit.templated import without_header
from porter.report.review.blocks import blocks_of, hunks_of
from porter.report.review.called import called, calls_of
from porter.report.review.drawing import Layer, Row, rows_of
from porter.report.review.opened import Opened
from porter.report.review.recorded import Document, Recorded, Subject, recorded
from porter.report.review.values import Applied, Block, Edited, Hunk, Provenance, Reason, Review, SiteRow
from porter.report.rule_page import part_of, proof_of
from porter.rewrite.ported import UNUSED
from porter.rulebook import LoadedRule


def subject_of(opened: Opened) -> Subject:
    """The port, as records speak of it."""
    account = opened.account
    rules = tuple(entry["rule"] for entry in account["rules"])
    codes = without_header(opened.new) if opened.new else ()
    source = account["source"]
    return Subject(account["name"], str(opened.folder), source.get("module"), source["sha256"], codes, rules)


def review_of(opened: Opened, book: Sequence[LoadedRule], documents: Sequence[Document]) -> Review:
    """Raises LookupError, TypeError or ValueError where a document is no record inside."""
    account = opened.account
    known = recorded(subject_of(opened), documents)
    hunks = hunks_of(opened.hunks, _applications(account))
    blocks, unseen = blocks_of(hunks, _applied(account))
    used = called(opened.new) if opened.new else {}
    blocks = tuple(replace(block, calls=calls_of(_written(block), used)) for block in blocks)
    sites = tuple(_site(entry, blocks) for entry in account["sites"])
    return Review(
        name=account["name"],
        folder=str(opened.folder),
        module=f"{account['module']}.py",
        entry=account["class"],
        provenance=_provenance(opened),
        reasons={entry["rule"]: _reason(entry, book, known) for entry in account["rules"]},
        sites=sites,
        blocks=blocks,
        unseen=unseen,
        edited=_edited(opened),
        figures=known.figures,
        layer=_layer(opened, sites, known),
        split=_split(account),
        old=opened.old,
        new=opened.new,
    )


def _written(block: Block) -> list[int]:
    """The lines of the port that are new in a block."""
    return [line.new for hunk in block.hunks for line in hunk.lines if line.mark == "+" and line.new]


def _applications(account: dict[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((entry["rule"], entry["site"]) for entry in account["changes"] if entry["rule"] is not None)


def _applied(account: dict[str, Any]) -> list[Applied]:
    changes = (entry for entry in account["changes"] if entry["rule"] is not None)
    return [Applied(entry["rule"], entry["site"], *entry["lines"]) for entry in changes]


def _site(entry: dict[str, Any], blocks: Iterable[Block]) -> SiteRow:
    at = tuple(block.number for block in blocks if block.rules and entry["site"] in block.sites)
    reason = entry.get("reason") or ""
    return SiteRow(entry["site"], entry["kind"], entry["line"], entry["status"], tuple(entry["rules"]), reason, at)


def _provenance(opened: Opened) -> Provenance:
    account = opened.account
    source, options = account["source"], account.get("options") or {}
    versions = [f"{source.get('package')} {source['version']}"] if source.get("version") else []
    versions += [f"converted under transformers {source['made_under']}"] if source.get("made_under") else []
    given = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in options.items() if value]
    return Provenance(
        source=_spec(opened),
        file=source.get("file") or "",
        release=", ".join(versions) or "no release is recorded",
        sha256=source["sha256"],
        confirmed=opened.confirmed,
        porter=account["porter"],
        porter_here=porter.__version__,
        command=account["regenerate"],
        options=", ".join(given),
    )


def _spec(opened: Opened) -> str:
    """What names the source in a command: its module, or its file as seen from where the port's folder is."""
    source = opened.account["source"]
    beside = source.get("path")
    return os.path.normpath(opened.folder / beside) if beside else source.get("module") or source.get("file") or ""


def _reason(entry: dict[str, Any], book: Sequence[LoadedRule], known: Recorded) -> Reason:
    name = entry["rule"]
    rule = next((each for each in book if each.name == name), None)
    kernels = dict(known.without).get(name, "")
    if rule is None:
        origin = f", which came from {entry['from']}" if entry.get("from") else ""
        return Reason(name, drift=f"no rule `{name}` is known here{origin}: give its folder with --rules")
    document = rule.document
    changed = "" if rule.sha256 == entry["sha256"] else "the rule has changed since: this is what it says today"
    why, numerics, contract = (part_of(document, part) or "" for part in ("Why", "Numerics", "Contract"))
    return Reason(name, rule.summary, why, numerics, contract, proof_of(rule), rule.path, changed, kernels)


def _split(account: dict[str, Any]) -> str:
    split = account.get("split_points")
    if not split:
        return ""
    against = f", checked against {split['checked_against']}" if split.get("checked_against") else ""
    return f"{split['layer_class']}: {', '.join(split['row_parallel']) or 'none'}{against}"


def _layer(opened: Opened, sites: Iterable[SiteRow], known: Recorded) -> Layer:
    changes = opened.account["changes"]
    unused = [entry["site"] for entry in changes if entry["rule"] is None and entry["part"] == UNUSED]
    bare = [Row(row.site, row.kind, row.status, reason=row.reason) for row in sites]
    rows = rows_of(bare, unused, opened.old, opened.new) if opened.old else ()
    note = "" if known.phases else "no lowering is recorded of this port: operations are drawn as its text has them"
    return Layer(known.phases, known.phases_in, rows, known.note or note)


def _edited(opened: Opened) -> Edited:
    """What was changed by hand: against what porter wrote, which the source and the diff give."""
    module = f"{opened.account['module']}.py"
    if module not in opened.edited:
        return Edited(opened.edited)
    if not opened.new:
        note = "the source is not here as it was, so what was changed by hand cannot be shown; all else is of what "
        return Edited(opened.edited, (), f"{note}porter wrote")
    return Edited(opened.edited, tuple(_by_hand(opened.new, opened.there)))


def _by_hand(written: str, there: str) -> Iterable[Hunk]:
    old, new = lines_of(written), lines_of(there)
    for number, group in enumerate(difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(3)):
        lines: list[DiffLine] = []
        for tag, i, j, k, m in group:
            if tag == "equal":
                pairs = zip(range(i, j), range(k, m), strict=True)
                lines += [DiffLine(" ", one + 1, other + 1, old[one]) for one, other in pairs]
                continue
            lines += [DiffLine("-", one + 1, None, old[one]) for one in range(i, j)]
            lines += [DiffLine("+", None, other + 1, new[other]) for other in range(k, m)]
        yield Hunk(f"by-hand-{number + 1}", (("changed by hand", ""),), tuple(lines))

"""The record of an acceptance run as one page of HTML that needs nothing beside it: to be sent to a colleague.

Contract: everything in it is from the record, and escaped; no script, no address is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.accept.probe import AGREES, DIFFERS, LOST, NOT_RUN, NOTED, PARTS, STACK
from porter.accept.record import counted, is_accepted, worst_ulp
from porter.report.kernel import claim_of

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATE = Path(__file__).with_name("acceptance.html.j2")
_CODE = re.compile(r"`([^`]*)`")
_SHARE = 1e-3  # of elements that differ in their last bits: below it nothing is said


def page(record: Mapping[str, Any]) -> str:
    """One HTML document."""
    verdict, tone = _verdict(record)
    probes = list(record["probes"].values())
    parts = [
        {"title": title, "probes": [_probe(probe) for probe in probes if probe["part"] == part]}
        for part, title in PARTS.items()
        if part != STACK
    ]
    return _template().render(
        record=record,
        verdict=verdict,
        tone=tone,
        claim=claim_of(record),
        counts=counted(record),
        advice=list(_advice(record)),
        parts=[part for part in parts if part["probes"]],
        tones=_TONES,
    )


_TONES = {AGREES: "good", DIFFERS: "bad", LOST: "bad", NOTED: "note", NOT_RUN: "note"}


def _verdict(record: Mapping[str, Any]) -> tuple[str, str]:
    wrong = [probe for probe in record["probes"].values() if probe["outcome"] in (DIFFERS, LOST)]
    if record["finished"] is None:
        return "not run to its end", "note"
    if wrong:
        return f"{len(wrong)} of {len(record['probes'])} probes failed", "bad"
    return ("the rehearsal found nothing wrong" if record["rehearsal"] else "accepted"), "good"


def _advice(record: Mapping[str, Any]) -> Iterator[str]:
    """What to do, most urgent first."""
    by_outcome: dict[str, list[str]] = {}
    for probe in record["probes"].values():
        outcomes = {probe["outcome"] or LOST, *({DIFFERS} & {entry["outcome"] for entry in probe["entries"]})}
        for outcome in outcomes:
            by_outcome.setdefault(outcome, []).append(probe["title"])
    if DIFFERS in by_outcome:
        yield (
            f"Do not use this port here before this is looked at: {', '.join(by_outcome[DIFFERS])}. Below is what was "
            "asked and by how much it differs; `porter why` names the rule that writes an op, and `porter convert "
            "--without RULE` leaves it out."
        )
    if LOST in by_outcome:
        yield (
            f"Hung, crashed or out of memory: {', '.join(by_outcome[LOST])}. See that the device is free and whole, "
            "then run the same command again: it goes on, and asks these again."
        )
    if record["finished"] is None:
        yield "Run the same command again: it goes on where it stopped."
    if NOT_RUN in by_outcome:
        yield f"Not run, each for the reason it gives: {', '.join(by_outcome[NOT_RUN])}."
    if record["rehearsal"]:
        yield f"No NPU took part. On a machine with one: `porter accept {record['port']['name']} --device npu`."
    elif is_accepted(record):
        yield "Keep accept.json beside the port: `porter verify` quotes it, for this chip and these versions alone."


def _probe(probe: Mapping[str, Any]) -> dict[str, Any]:
    figures = [entry for entry in probe["entries"] if entry.get("figures")]
    times = [entry["ms"] for entry in probe["entries"] if entry.get("ms")]
    return {
        **probe,
        "outcome": probe["outcome"] or LOST,
        "worst": f"{max(map(worst_ulp, figures)):.3g} ulp" if figures else "",
        "time": f"{max(times):.3g} ms" if times else "",
        "rows": [_row(entry) for entry in probe["entries"]],
    }


def _row(entry: Mapping[str, Any]) -> dict[str, str]:
    forbidden = entry.get("forbidden")
    what = f"forbidden: {forbidden}" if forbidden else ", ".join(filter(None, (entry.get("call"), entry.get("dtype"))))
    return {
        "outcome": entry["outcome"],
        "what": what,
        "asked": entry.get("arguments", ""),
        "figures": _told(entry),
        "time": f"{entry['ms']:.3g} ms" if entry.get("ms") else "",
        "detail": "; ".join(filter(None, (entry.get("detail"), entry.get("shrunk")))),
        "contract": entry.get("contract", ""),
    }


def _told(entry: Mapping[str, Any]) -> str:
    """The worst error beside the host's own, and how many elements are not the host's to the bit."""
    told = []
    for figures in (entry.get("figures") or {}).values():
        text = f"{figures['after_ulp']:.3g} ulp, host {figures['before_ulp']:.3g}"
        told.append(text + (f", {figures['differing']:.1%} not to the bit" if figures["differing"] > _SHARE else ""))
    return "; ".join(told)


def _text(text: str) -> Any:
    """Escaped, with what stands between backticks as code."""
    from markupsafe import Markup, escape

    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True)
    environment.filters["text"] = _text
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))

"""What an acceptance run found, a probe a line: on which device, what agreed, what not, what was not run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from porter.accept.probe import AGREES, DIFFERS, LOST, NOTED, PARTS
from porter.accept.record import counted, worst_ulp
from porter.report.blocks import Report, Row, Table, Tone, Words
from porter.report.kernel import claim_of

_TONES: dict[str, Tone] = {DIFFERS: "bad", LOST: "bad"}


def of_acceptance(record: Mapping[str, Any]) -> Report:
    port, device = record["port"]["name"], record["device"]
    kind = "a rehearsal on" if record["rehearsal"] else "on"
    head = f"{port}: {kind} {device['kind']} {device['name']}, sizes of {record['options']['configuration']}"
    probes = list(record["probes"].values())
    rows = [
        Row(
            (probe["outcome"] or LOST, PARTS[probe["part"]].split(",")[0], probe["title"], *_figures(probe)),
            _TONES.get(probe["outcome"] or LOST, ""),
        )
        for probe in probes
    ]
    told = ", ".join(f"{count} {outcome}" for outcome, count in counted(record).items())
    below = [(probe, said) for probe in probes if (said := list(_hanging(probe)))]
    return [
        head,
        Table(("", "part", "probe", "ulp", "ms a call"), tuple(rows), frozenset({3, 4})),
        *(Words("\n".join((probe["title"], *said)), _TONES.get(probe["outcome"] or LOST, "open"))
          for probe, said in below),
        f"{told}\n{claim_of(record)}",
    ]  # fmt: skip


def _figures(probe: Mapping[str, Any]) -> tuple[str, str]:
    """The worst error, and the longest call."""
    entries = [entry for entry in probe["entries"] if entry.get("figures")]
    times = [entry["ms"] for entry in probe["entries"] if entry.get("ms")]
    worst = f"{max(map(worst_ulp, entries)):.3g}" if entries else "-"
    return worst, f"{max(times):.3g}" if times else "-"


def _hanging(probe: Mapping[str, Any]) -> Iterator[str]:
    if probe["outcome"] in (AGREES, NOTED):
        return
    if not probe["entries"] or probe["outcome"] not in (DIFFERS, LOST):
        yield f"    {probe['detail']}"
        return
    for entry in probe["entries"]:
        if entry["outcome"] in (DIFFERS, LOST):
            what = entry.get("call") or entry.get("forbidden") or ""
            yield f"    {', '.join(filter(None, (what, entry.get('dtype'))))}: {entry['detail']}"
    if probe["outcome"] == LOST:
        yield f"    {probe['detail']}"



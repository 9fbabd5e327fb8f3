"""What may be said of the kernels of a port: "kernel: not run", or what a record of a device says.

Contract: a record counts for its chip and its versions alone, and while the port and what it computes with are what
they were. A record made without an NPU is a rehearsal: it never takes the place of "kernel: not run". What a record
says is quoted with its place, whatever machine it is read on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from porter.accept.probe import AGREES, DIFFERS, LOST, MODEL, OPS
from porter.accept.record import COMPUTING, code_of, counted, is_accepted, port_text, read_records
from porter.diagnostics import Refused
from porter.release.stack import installed_stack

NOT_RUN = "kernel: not run"
_OF_THE_DEVICE = ("torch_npu", "CANN")


def kernel_claim(folder: Path, soc: str | None = None) -> str:
    """What is known of the kernels of the port in `folder`; `soc`: on that chip."""
    records = read_records(folder)
    if isinstance(records, Refused):
        return f"{NOT_RUN} (its {records.diagnostics[0].message})"
    own = [record for record in records if not record["rehearsal"] and _is_of(record, folder)]
    wanted = [record for record in own if soc is None or record["device"]["name"].startswith(soc)]
    here = [record for record in wanted if not _others_here(record)]
    if here:
        return claim_of(max(here, key=lambda record: record["started"]))
    if wanted:
        return f"{NOT_RUN} with {_others_here(wanted[-1])}; a record is of {place_of(wanted[-1])}"
    if own:
        return f"{NOT_RUN} on {soc}; a record is of {place_of(own[-1])}"
    return NOT_RUN


def claim_of(record: Mapping[str, Any]) -> str:
    """What one record says, in one line."""
    if record["rehearsal"]:
        return f"{NOT_RUN}: this is a rehearsal on {record['device']['kind']}, by porter's own kernels"
    ops, model = counted(record, OPS), counted(record, MODEL)
    total = sum(ops.values())
    wrong = [probe["title"] for probe in record["probes"].values() if probe["outcome"] in (DIFFERS, LOST)]
    said = f"kernel: run on {place_of(record)}: {ops.get(AGREES, 0)} of {total} ops agree with porter's"
    if model.get(AGREES):
        said += f", {model[AGREES]} of {sum(model.values())} comparisons with the source"
    if wrong:
        said += f"; not: {', '.join(wrong)}"
    return said if is_accepted(record) or wrong else f"{said}; not run to its end"


def place_of(record: Mapping[str, Any]) -> str:
    versions = record["place"]["versions"]
    listed = [f"{name} {versions[name]}" for name in ("CANN", "driver", "torch_npu", "torch") if name in versions]
    return f"{record['device']['name']} ({', '.join(listed)})"


def _is_of(record: Mapping[str, Any], folder: Path) -> bool:
    """Whether the port, and the kernels it was judged by, are still what the record is about."""
    same = record["porter"]["computing"] == code_of(COMPUTING)
    return same and record["port"]["text"] == port_text(folder)


def _others_here(record: Mapping[str, Any]) -> str:
    """What of an NPU's stack is installed here in another version than the record's; nothing where there is none."""
    there, here = record["place"]["versions"], installed_stack().versions
    others = [name for name in _OF_THE_DEVICE if name in here and here[name] != there.get(name)]
    return ", ".join(f"{name} {here[name]}" for name in others)

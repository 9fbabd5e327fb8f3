"""The beginning of an acceptance run: is the device there, which sizes, and the record that the probes go into."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from porter.accept.configuration import sizes_of
from porter.accept.plan import Asked
from porter.accept.record import new_record, read_records
from porter.accept.sides import Sides, stand_ins_of
from porter.accept.stack import chip_of, known_parts, look, no_device, versions
from porter.diagnostics import Refused, refused
from porter.matrix.processes import Ended, Limits, Said, run_each
from porter.runner.backends import choose_backend
from porter.runner.refusal import CannotRun
from porter.verify.port import Port

Begun = tuple[dict[str, Any], list[dict[str, Any]], Asked]  # the record, those of other places, what is asked


def begin(
    folder: Path,
    port: Port,
    kind: str,
    *,
    limits: Limits,
    config: str | None = None,
    tp: int = 1,
    model_path: Path | None = None,
    backend: str | None = None,
    stand_ins: Path | None = None,
) -> Begun | Refused:
    """Refused for a device that is not there or does not answer (P170), a configuration that is none (P116), a backend
    that does not serve (P086), a checkpoint that is no folder (P176), a source that does not load, and a record that
    cannot be read (P175)."""
    import torch

    others = read_records(folder)
    if isinstance(others, Refused):
        return others
    if model_path is not None and not (model_path / "config.json").is_file():
        return refused("P176", f"`{model_path}` is no checkpoint", "give the folder with config.json and the weights")
    source = port.load_source_class()
    if isinstance(source, Refused):
        return source
    sizes = sizes_of(port.load_class().config_class, config or _own_config(model_path))
    if isinstance(sizes, Refused):
        return sizes
    device = _looked(kind, limits)
    if isinstance(device, Refused):
        return device
    try:
        choose_backend(backend, torch.device(kind))
    except CannotRun as error:
        return Refused((error.diagnostic,))
    options = {
        "configuration": sizes.name,
        "sizes": hashlib.sha256(sizes.config.to_json_string(use_diff=False).encode()).hexdigest()[:16],
        "tp": tp,
        "model_path": None if model_path is None else str(model_path),
        "backend": backend,
        "stand_ins": None if stand_ins is None else hashlib.sha256(stand_ins.read_bytes()).hexdigest()[:16],
    }
    device["stands_for"] = chip_of(device["name"])
    record = new_record(folder, device, versions(kind), known_parts(), options)
    sides = Sides(torch.device(kind), device["stands_for"], stand_ins_of(stand_ins))
    return record, others, Asked(port, sides, sizes, tp, model_path, device["count"], device["memory"], backend)


def _own_config(model_path: Path | None) -> str | None:
    return None if model_path is None else str(model_path / "config.json")


def _looked(kind: str, limits: Limits) -> dict[str, Any] | Refused:
    """What is there, asked in a process of its own."""
    found: dict[str, Any] = {"count": 0}
    with tempfile.TemporaryDirectory(prefix="porter-accept-") as name:
        for told in run_each([lambda say: say(look(kind))], [Path(name) / "log"], jobs=1, limits=limits):
            if isinstance(told, Said):
                found = told.word
            elif isinstance(told, Ended) and told.fault:
                return refused("P170", f"the device does not answer: {told.fault}", "see that it works without porter")
    return {"kind": kind, **found} if found["count"] else no_device(kind)

"""A port's folder and a workload -> how long its two steps would take on a chip, kernel by kernel.

Contract: an estimate. The graphs are those that TorchAir makes of the port at the real sizes, for one card of `tp`;
bandwidth and peak are published figures; the constants are fitted on published times of another port (`constants.json`
says how far off it is on times it was not fitted on). No kernel is run. A port reads its whole static cache at every
step, so a decode step costs the same from the first token to the last.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.diagnostics import Refused, refused
from porter.lowering.installation import Progress
from porter.predict.asked import ask
from porter.predict.chips import Chip
from porter.predict.layers import of_all_layers
from porter.predict.steps import Step, steps_of
from porter.predict.workload import DTYPES, Workload, check_workload, dtype_of
from porter.verify.contract import contract
from porter.verify.port import Port, open_port


@dataclass(frozen=True)
class Memory:
    """Bytes that a card holds, without what a step needs while it runs."""

    weights: int
    cache: int
    available: int


@dataclass(frozen=True)
class Prediction:
    name: str
    configuration: str
    dtype: str
    layers: int
    chip: Chip
    workload: Workload
    memory: Memory
    prefill: Step
    decode: Step

    @property
    def tokens_a_second(self) -> float:
        """Of all sequences, while they decode."""
        return self.workload.batch / (self.decode.milliseconds / 1e3)


def predict(
    directory: Path,
    workload: Workload,
    chip: Chip,
    *,
    config_json: Path | None = None,
    progress: Progress | None = None,
    edited: bool = False,
    trust_remote_code: bool = False,
) -> Prediction | Refused:
    """Of the port in `directory` at the sizes of `config_json`, else at the defaults of its configuration's class.

    Refused where `open_port` or lowering is, where the workload or the configuration is out of range (P116, P119),
    where the model does not fit the memory of the chip (P120), and where it does not lower at these sizes (P121).
    """
    port = open_port(directory, edited=edited, trust_remote_code=trust_remote_code)
    if isinstance(port, Refused):
        return port
    tell = progress or (lambda *step: None)
    config = checked_configuration(port, workload, chip, config_json, tell)
    if isinstance(config, Refused):
        return config
    answers = ask([asked_of(port, workload, config)], chip.name, tell)
    if isinstance(answers, Refused):
        return answers
    if answers[0]["failure"]:
        return _does_not_lower(port, answers[0]["failure"])
    called = (
        config_json.name if config_json is not None else f"the defaults of {port.load_class().config_class.__name__}"
    )
    return prediction_of(port.name, called, dtype_of(config), workload, chip, answers[0])


def checked_configuration(
    port: Port, workload: Workload, chip: Chip, config_json: Path | None, progress: Progress
) -> dict[str, Any] | Refused:
    """The configuration as plain data, once the workload is in its range and the port's ops take it on the chip."""
    with tempfile.TemporaryDirectory(prefix="porter-predict-") as name:
        if config_json is None:
            config_json = Path(name) / "config.json"
            config_json.write_text(port.load_class().config_class().to_json_string(use_diff=False), encoding="utf-8")
        try:
            config = json.loads(config_json.read_text(encoding="utf-8"))
            fault = check_workload(workload, config.get("text_config") or config)
        except (OSError, ValueError, AttributeError):  # what is wrong with it, the contract says
            fault, config = None, {}
        if fault is not None:
            return fault
        options: dict[str, Any] = {"edited": True, "trust_remote_code": True}  # it was asked for when it was opened
        found = contract(port.directory, config_json, soc=chip.name, tp=workload.tp, progress=progress, **options)
    if isinstance(found, Refused):
        return found
    of_other_dtypes = set(DTYPES) - {dtype_of(config)}
    failed = next((check for check in found if check.failed and check.variant not in of_other_dtypes), None)
    if failed is not None:
        help = "`porter verify --level contract` with the same --config and --tp says all"
        return refused(
            "P119", f"the port does not run at these sizes: {failed.name}", help, *failed.detail.splitlines()
        )
    return dict(config)


def asked_of(port: Port, workload: Workload, config: Mapping[str, Any], model: str = "port") -> dict[str, Any]:
    """What to ask the worker: about the port, or the `source` that it was made from with a growing cache."""
    return {
        "called": f"{port.name}, {model}",
        "directory": str(port.directory.resolve()),
        "model": model,
        "config": dict(config),
        "dtype": dtype_of(config),
        "batch": workload.batch,
        "input": workload.input,
        "output": workload.output,
        "tp": workload.tp,
        "last": True,
        "context": workload.input + workload.output // 2,  # half way through the answer
    }


def prediction_of(
    name: str, called: str, dtype: str, workload: Workload, chip: Chip, answer: Mapping[str, Any]
) -> Prediction | Refused:
    """From what the worker answered."""
    memory = memory_of(answer, workload, chip)
    held = memory.weights + memory.cache
    if held > memory.available:
        message = f"{name} does not fit a card: {_gib(held)} are needed, {chip.name} has {_gib(memory.available)}"
        notes = (f"weights {_gib(memory.weights)}, KV cache {_gib(memory.cache)}",)
        return refused("P120", message, "share it over more cards with --tp, or ask for fewer sequences", *notes)
    steps = steps_of(answer, workload, chip)
    return Prediction(
        name, called, dtype, len(answer["kinds"]), chip, workload, memory, steps["prefill"], steps["decode"]
    )


def memory_of(answer: Mapping[str, Any], workload: Workload, chip: Chip) -> Memory:
    found = {
        int(depth): Counter({name: size[name] for name in ("weights", "cache", "head_bytes")})
        for depth, size in answer["sizes"].items()
    }
    whole = of_all_layers(answer["kinds"], answer["shown"], found)
    elsewhere = whole["head_bytes"] * (workload.tp - 1) // workload.tp  # a rank has its part of the head's weight
    return Memory(whole["weights"] - elsewhere, whole["cache"], chip.memory)


def _does_not_lower(port: Port, reason: str) -> Refused:
    return refused("P121", f"{port.name} does not lower at these sizes", "see what `porter lower` says of it", reason)


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"

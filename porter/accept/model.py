"""The port on the device beside its source on the host: the checks of `porter verify`, on a small model with random
weights.

Contract: figures and limits are those of the checks. In float32, which an NPU's attention does not take, single calls,
padding, pieces, the last slot and greedy tokens; in bfloat16 and float16 the error rule over prompts and cached steps.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from porter.accept.device_model import load_on_device, on_device
from porter.accept.judge import first_line, is_out_of_memory
from porter.accept.probe import AGREES, DIFFERS, NOT_RUN, Say
from porter.accept.sides import Sides
from porter.diagnostics import Refused
from porter.lowering.steps import configuration
from porter.verify import forward, generation
from porter.verify.finding import Measured
from porter.verify.pair import NotApplicable, Pair, load, write_checkpoint
from porter.verify.parity import quiet
from porter.verify.port import Port
from porter.verify.precision import precision

LAYERS = 2
IN_FLOAT32: dict[str, Callable[[Pair], Measured]] = {
    "NPU ops run": forward.npu_ops,
    "logits": forward.logits,
    "left padding: logits": forward.padded_logits,
    "greedy tokens": generation.greedy,
    "left padding: greedy tokens": generation.greedy_batch,
    "chunked prefill": generation.chunked_prefill,
    "to the last slot": generation.last_slot,
}
HALVES = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Small:
    """A checkpoint of a small model, and the two classes that load it."""

    source_class: Any
    port_class: Any
    config: Any
    folder: Path

    def source(self, dtype: torch.dtype) -> Any:
        return load(self.source_class, self.folder, dtype)

    def port(self, dtype: torch.dtype) -> Any:
        return load(self.port_class, self.folder, dtype)


@contextmanager
def small_model(port: Port) -> Iterator[Small]:
    """Random weights with noise, in float32, in a folder that goes away. Raises RuntimeError where the source does not
    load."""
    source_class = port.load_source_class()
    if isinstance(source_class, Refused):
        raise RuntimeError(source_class.diagnostics[0].message)
    config = configuration(source_class.config_class, LAYERS)
    with quiet(), tempfile.TemporaryDirectory() as name:
        write_checkpoint(source_class, config, Path(name))
        yield Small(source_class, port.load_class(), config, Path(name))


def in_float32(port: Port, sides: Sides, say: Say) -> None:
    if sides.device.type == "npu":
        say({"call": "float32", "outcome": NOT_RUN, "detail": "attention on an NPU takes no float32"})
        return
    with small_model(port) as small:
        ported = load_on_device(small.port_class, small.folder, sides, torch.float32)
        pair = Pair(small.source(torch.float32), ported, small.config, small.folder)
        for name, check in IN_FLOAT32.items():
            say({"call": name, "dtype": "float32", **_measured(partial(check, pair))})


def in_halves(port: Port, sides: Sides, say: Say) -> None:
    with small_model(port) as small:
        pair = Pair(small.source(torch.float32), on_device(small.port_class, sides)(), small.config, small.folder)
        for dtype in HALVES:
            name = str(dtype).removeprefix("torch.")
            say({"call": "prompts and cached steps", "dtype": name, **_measured(partial(precision, pair, dtype))})


def _measured(ask: Callable[[], Measured]) -> dict[str, Any]:
    """An entry for a check; one that raises differs, and says what was raised."""
    try:
        found = ask()
    except NotApplicable as reason:
        return {"outcome": NOT_RUN, "detail": str(reason)}
    except Exception as error:  # a port's code may raise anything
        if is_out_of_memory(error):
            raise
        return {"outcome": DIFFERS, "detail": first_line(error)}
    limit = f", limit {found.limit:.2g}" if found.limit else ""
    told = f"{found.figure:.2g} {found.unit}{limit}"
    return {
        "outcome": AGREES if found.passed else DIFFERS,
        "detail": f"{told}; {found.detail}" if found.detail else told,
        "figure": found.figure,
        "limit": found.limit,
    }

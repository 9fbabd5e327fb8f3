"""What a time is predicted for: how many sequences, how long, on how many cards.

Contract: plain numbers, checked against one another, against the configuration's positions and against a server's
cards; what is out of range is Refused (P119) with the range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from porter.diagnostics import Refused, refused
from porter.predict.chips import CARDS

BATCHES = 4096
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")
DTYPES = ("float16", "bfloat16")


@dataclass(frozen=True)
class Workload:
    """`input` tokens a sequence are prefilled, then `output` ones decoded; `tp`: cards that share the model."""

    batch: int = 1
    input: int = 1024
    output: int = 1024
    tp: int = 1

    @property
    def slots(self) -> int:
        """Tokens a sequence that the KV cache holds memory for."""
        return self.input + self.output

    def tokens(self, phase: str) -> int:
        """Of one step."""
        return self.batch * (self.input if phase == "prefill" else 1)


def check_workload(asked: Workload, config: Mapping[str, Any]) -> Refused | None:
    """`config`: a config.json, or its part for text."""
    longest = next((config[name] for name in _POSITIONS if isinstance(config.get(name), int)), None)
    ranges = {"batch": (asked.batch, BATCHES), "input": (asked.input, longest), "output": (asked.output, longest)}
    for name, (value, most) in ({"tp": (asked.tp, CARDS)} | ranges).items():
        if value < 1 or (most is not None and value > most):
            known = f"from 1 to {most}" if most is not None else "1 or more"
            return refused("P119", f"--{name} is {value}", f"give one {known}")
    if longest is not None and asked.slots > longest:
        message = f"--input {asked.input} and --output {asked.output} are {asked.slots} tokens: more than the model's"
        return refused("P119", f"{message} {longest} positions", "ask for fewer tokens")
    if config.get("quantization_config"):
        help = "give the configuration of a checkpoint in half precision"
        return refused("P119", "the configuration is of a quantized checkpoint, which a port does not take", help)
    return None


def dtype_of(config: Mapping[str, Any]) -> str:
    """The half precision that the configuration names; float16 where it names none."""
    named = str(config.get("dtype") or config.get("torch_dtype") or "")
    return named if named in DTYPES else DTYPES[0]

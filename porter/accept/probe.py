"""One piece of an acceptance run: what it is called, what part it belongs to, and what it does in its own process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# What became of an entry, and of a probe. Noted: something to know, which speaks neither for nor against the port.
AGREES, DIFFERS, NOTED, NOT_RUN, LOST = "agrees", "differs", "noted", "not run", "lost"

Say = Callable[[dict[str, Any]], None]
STACK, OPS, WHEEL, REPORTS, MODEL, TIMES = "stack", "ops", "wheel", "reports", "model", "times"
PARTS = {
    STACK: "What is there",
    OPS: "Every op of the port, on the device beside porter's kernel on the host",
    WHEEL: "With the real torch_npu, where there is no device: what it takes and gives, no kernel run",
    REPORTS: "What people saw on devices",
    MODEL: "The port on the device beside its source",
    TIMES: "Times",
}


@dataclass(frozen=True)
class Probe:
    """`work` says an entry as soon as it has one, each a dict with an `outcome`. None: it is not run, for `reason`."""

    name: str
    part: str
    title: str
    work: Callable[[Say], None] | None = field(default=None, compare=False)
    reason: str = ""
    about: str = ""  # what it means for a port
    used: bool | None = None  # whether the port uses the form that was reported
    slow: bool = False  # it loads or compiles models, and has more time

"""What of an eager prefill on this CPU is merged projections and the device's rounding points: with and without them.

    python benchmarks/prefill_parts.py [PORT_DIR] [--rounds N]

A port of Llama multiplies by gate and up at once, and its swiglu and rotary compute in float32 and round once, for the
device does. Here the same port also runs with gate and up apart, with the source's own arithmetic in place of the two
ops, and with both. Ratios are to the source: medians over rounds in turns, one thread, with the quartiles.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import quantiles
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn.functional import linear, silu

from porter.bench import generation
from porter.bench.timing import Ratio, Times, in_turns
from porter.runtime.registry import default_root
from porter.verify.port import Port, open_port

SHAPES = generation.SHAPES[2:4]


def apart(mlp: Any, x: torch.Tensor) -> torch.Tensor:
    gate, up = mlp.gate_up.weight.chunk(2)
    return mlp.down_proj(silu(linear(x, gate)) * linear(x, up))


def source_s_rotary(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


def source_s_swiglu(both: torch.Tensor) -> torch.Tensor:
    gate, up = both.chunk(2, -1)
    return silu(gate) * up


@contextlib.contextmanager
def changed(module: Any, names: dict[str, Any]) -> Iterator[None]:
    """`names` of a generated module, `Class.method` or global, for as long as the block runs."""
    before = []
    for name, value in names.items():
        owner, _, last = name.rpartition(".")
        holder = getattr(module, owner) if owner else module
        before.append((holder, last, getattr(holder, last)))
        setattr(holder, last, value)
    try:
        yield
    finally:
        for holder, last, value in before:
            setattr(holder, last, value)


def variants(module: Any) -> dict[str, dict[str, Any]]:
    ops = SimpleNamespace(
        **{name: getattr(module.torch_npu, name) for name in dir(module.torch_npu) if name.startswith("npu_")}
    )
    ops.npu_rotary_mul, ops.npu_swiglu = source_s_rotary, source_s_swiglu
    split, rounding = {"LlamaMLP.forward": apart}, {"torch_npu": ops}
    return {"port": {}, "gate and up apart": split, "source's rounding": rounding, "both": split | rounding}


def prefills(port: Port, shape: generation.Shape, rounds: int) -> dict[str, Ratio]:
    """Prefill of each variant against that of the source."""
    ours, theirs = generation._models(port, shape, torch.device("cpu"))
    module = sys.modules[type(ours).__module__]
    run, source = generation._eager(ours, shape), generation._eager(theirs, shape)

    def with_names(names: dict[str, Any]) -> Callable[[], Times]:
        def timed() -> Times:
            with changed(module, names):
                return run()[0]

        return timed

    return {
        name: in_turns(with_names(names), lambda: source()[0], rounds)[0] for name, names in variants(module).items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("port", type=Path, nargs="?", default=default_root() / "llama2")
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for shape in SHAPES:
        for name, prefill in prefills(open_port(arguments.port), shape, arguments.rounds).items():
            low, middle, high = quantiles(prefill.ratios, n=4)
            print(f"{shape}  {name:<18} {middle:.3f}  {low:.3f} to {high:.3f}", flush=True)


if __name__ == "__main__":
    main()

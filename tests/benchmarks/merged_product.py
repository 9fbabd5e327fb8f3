"""What merging gate and up costs or gains on this CPU: one product of twice the rows against two products.

    python benchmarks/merged_product.py [--rounds N] [--threads N]

On an NPU one wider product is one kernel less. On a CPU the library decides, by its blocking for that width, and the
activation reads rows that lie further apart; the runner computes large float32 products by blocks (`porter.runtime`).
Ratios are to gate and up apart, medians over rounds in turns, with the least and the greatest: `merged` and `blocks`
are the product, `MLP` is linear, npu_swiglu, linear, by blocks where the runner does so, against linear, linear, silu,
product, linear.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.functional import linear, silu

from porter.bench.timing import Times, in_turns
from porter.npu import torch_npu
from porter.runtime import block_products

WIDTHS = ((256, 640), (512, 1344), (2048, 5632), (4096, 11008))  # hidden_size, intermediate_size
Compute: TypeAlias = Callable[[torch.Tensor], Any]
WORK = {1: 2.5e8, 8: 5e8, 128: 5e9}  # multiplications a round: a single row waits for memory


def mlp(gate_up: nn.Linear, down: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return down(torch_npu.npu_swiglu(gate_up(x)))


def apart(gate: torch.Tensor, up: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return linear(x, gate), linear(x, up)


def mlp_apart(gate: torch.Tensor, up: torch.Tensor, down: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    gated, raised = apart(gate, up, x)
    return linear(silu(gated) * raised, down)


def pairs(hidden: int, inner: int, dtype: torch.dtype) -> dict[str, tuple[Compute, Compute]]:
    """What is compared, by name: merged, and gate and up apart."""
    gate_up, down = nn.Linear(hidden, 2 * inner, False, dtype=dtype), nn.Linear(inner, hidden, False, dtype=dtype)
    gate, up = (part.clone() for part in gate_up.weight.chunk(2))
    two = partial(apart, gate, up)
    found: dict[str, tuple[Compute, Compute]] = {"merged": (partial(linear, weight=gate_up.weight), two)}
    blocked = nn.ModuleList((gate_up, down))
    if block_products(blocked):
        found["blocks"] = gate_up, two
    return {**found, "MLP": (partial(mlp, gate_up, down), partial(mlp_apart, gate, up, down.weight.clone()))}


def timed(compute: Compute, x: torch.Tensor, repeats: int) -> Times:
    now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    started = now()
    for _ in range(repeats):
        compute(x)
    return {"product": 1000.0 * (now() - started) / repeats}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{'hidden':>6} {'inner':>6} {'rows':>5}  {'dtype':<9} {'what':<7} {'ms':>9} {'apart ms':>9}  ratio")
    for dtype, (hidden, inner), (rows, work) in product((torch.float32, torch.bfloat16), WIDTHS, WORK.items()):
        x, repeats = torch.randn(1, rows, hidden, dtype=dtype), max(1, int(work / (rows * hidden * 2 * inner)))
        for what, (one, two) in pairs(hidden, inner, dtype).items():
            (found,) = in_turns(partial(timed, one, x, repeats), partial(timed, two, x, repeats), arguments.rounds)
            name, low, high = str(dtype).removeprefix("torch."), *found.spread
            print(
                f"{hidden:>6} {inner:>6} {rows:>5}  {name:<9} {what:<7} {found.port_ms:>9.3f} {found.source_ms:>9.3f}  "
                f"{found.ratio:.3f}  {low:.3f} to {high:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""What merging gate and up costs or gains on this CPU: one product of twice the rows against two products.

    python benchmarks/merged_product.py [--rounds N] [--threads N]

On an NPU one wider product is one kernel less. On a CPU the library decides, by its blocking for that width; this says
how much of a port's prefill and decode ratio (`porter bench`) is that. Ratios are one / two, medians over rounds in
turns, with the least and the greatest.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import torch
from torch.nn.functional import linear

from porter.bench.timing import Times, in_turns

WIDTHS = ((256, 640), (512, 1344), (2048, 5632), (4096, 11008))  # hidden_size, intermediate_size
WORK = {1: 2.5e8, 128: 5e9}  # multiplications a round: a single row waits for memory


def timed(x: torch.Tensor, weights: tuple[torch.Tensor, ...], repeats: int) -> Times:
    now = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    started = now()
    for _ in range(repeats):
        for weight in weights:
            linear(x, weight)
    return {"product": 1000.0 * (now() - started) / repeats}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{'hidden':>6} {'inner':>6} {'rows':>5}  {'dtype':<9} {'one ms':>9} {'two ms':>9}  one / two")
    for dtype in (torch.float32, torch.bfloat16):
        for hidden, inner in WIDTHS:
            merged = torch.randn(2 * inner, hidden, dtype=dtype)
            parts = tuple(part.clone() for part in merged.chunk(2))
            for rows, work in WORK.items():  # a decode step, a prompt
                x = torch.randn(rows, hidden, dtype=dtype)
                repeats = max(1, int(work / (rows * hidden * 2 * inner)))
                one, two = partial(timed, x, (merged,), repeats), partial(timed, x, parts, repeats)
                (found,) = in_turns(one, two, arguments.rounds)
                name, low, high = str(dtype).removeprefix("torch."), *found.spread
                print(
                    f"{hidden:>6} {inner:>6} {rows:>5}  {name:<9} {found.port_ms:>9.3f} {found.source_ms:>9.3f}  "
                    f"{found.ratio:.3f}  {low:.3f} to {high:.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()

"""A decode step of small mixtures of experts: port against source under each of transformers' own dispatches.

    python tests/benchmarks/moe_decode.py [--models qwen3_moe,...] [--dtypes float32,bfloat16] [--batches 1,8]
                                          [--modes eager,compiled] [--rounds N] [--steps N]

`grouped_mm` is what a source takes by default; `batched_mm` copies the chosen experts' weights; `loop` is what the
source writes, which no single graph holds. `eager` is a call of either model with its cache, `compiled` the decode
graph of `execute_mode="dynamo"` and the same of the source. One thread, its own time; all sides in turns, a turn the
median of its steps, a ratio (port / source) taken within a round: the median, and the quartiles. What is asked, in
float32, is also that all sides choose the same tokens.

Exit status 1 where the port is slower than the default dispatch in the same mode: where three quarters of the rounds
say so.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from itertools import product
from statistics import median, quantiles
from typing import Any, TypeAlias

import torch
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, StaticCache

from porter.bench.generation import SourceSteps
from porter.runner.backends import choose_backend
from porter.runner.graph import CompiledSteps, Steps, allocate
from porter.runtime import StaticKVCache, block_products, load_model_class, tabulate_rotary

COMMON = {
    "vocab_size": 1024,
    "hidden_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 512,
}
MODELS: dict[str, dict[str, Any]] = {
    "qwen3_moe": {"num_experts": 32, "num_experts_per_tok": 8, "moe_intermediate_size": 256, "norm_topk_prob": True},
    "mixtral": {"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 512},
    "gpt_oss": {
        "num_local_experts": 32,
        "num_experts_per_tok": 4,
        "intermediate_size": 256,
        "layer_types": ["full_attention"] * 3,  # with a window the source's static cache is another graph a step
    },
    "glm4_moe": {
        "n_routed_experts": 32,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 256,
        "intermediate_size": 1024,
    },
}
DEFAULT = "grouped_mm"
DISPATCHES = {DEFAULT: DEFAULT, "batched_mm": "batched_mm", "loop": "eager"}
MODES = ("eager", "compiled")
PROMPT = 16
Side: TypeAlias = Callable[[], tuple[float, torch.Tensor]]


def models(name: str, dtype: torch.dtype) -> dict[str, Any]:
    """The port and, by dispatch, the source: each with the same weights in memory of its own."""
    torch.manual_seed(0)

    def config(**more: Any) -> Any:  # a model writes the dispatch it takes into its own
        return AutoConfig.for_model(name, **COMMON, **MODELS[name], **more)

    found = {"port": load_model_class(name)._from_config(config(), dtype=dtype).eval()}
    for dispatch, implementation in DISPATCHES.items():
        asked = config() if dispatch == DEFAULT else config(experts_implementation=implementation)
        found[dispatch] = AutoModelForCausalLM.from_config(asked, dtype=dtype).eval()
        assert found[dispatch].config._experts_implementation == implementation
    for model in found.values():
        model.load_state_dict(found[DEFAULT].state_dict())
    block_products(found["port"])
    tabulate_rotary(found["port"], COMMON["max_position_embeddings"])
    return found


def side(model: Any, mode: str, ours: bool, batch: int, steps: int) -> Side:
    """Fills the cache, unmeasured, then takes `steps` steps: the median of their milliseconds, and the tokens."""
    slots = PROMPT + steps
    prompt = torch.randint(3, 1000, (batch, PROMPT), generator=torch.Generator().manual_seed(1))
    mask, every = torch.ones(batch, slots, dtype=torch.int64), torch.arange(slots).repeat(batch, 1)
    asked, cache = Steps(model), None
    if ours or mode == "compiled":
        cache = (StaticKVCache if ours else StaticCache)(config=model.config, max_cache_len=slots)
        allocate(asked, cache, batch)
    compiled = (CompiledSteps if ours else SourceSteps)(asked, choose_backend(None, torch.device("cpu")))

    def run() -> tuple[float, torch.Tensor]:
        into: Any = DynamicCache(config=model.config) if cache is None else cache
        if cache is not None:
            cache.reset()
        logits = model(prompt, past_key_values=into, use_cache=True, logits_to_keep=1).logits[:, -1]
        chosen, times = [], []
        for at in range(PROMPT, slots):
            chosen.append(logits.argmax(-1))
            token, began = chosen[-1][:, None], time.process_time()
            if mode == "compiled":
                logits = compiled.decode(token, mask, every[:, at : at + 1].clone(), into)
            else:
                logits = model(token, past_key_values=into, use_cache=True).logits[:, -1]
            times.append(1000 * (time.process_time() - began))
        return median(times), torch.stack(chosen)

    return run


def sides(found: dict[str, Any], mode: str, batch: int, steps: int) -> dict[str, Side]:
    """By name, each having run once; without those that no single graph holds."""
    ready, tokens = {}, {}
    torch._dynamo.reset()
    for name, model in found.items():
        if (name, mode) == ("loop", "compiled"):
            continue
        run = side(model, mode, name == "port", batch, steps)
        tokens[name] = run()[1]
        ready[name] = run
        if model.dtype is torch.float32 and not torch.equal(tokens[name], tokens["port"]):
            raise RuntimeError(f"the port and its source under {name} choose other tokens, {mode}, batch {batch}")
    return ready


def in_turns(ready: dict[str, Side], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each round, by side; every second round goes the other way."""
    times: dict[str, list[float]] = {name: [] for name in ready}
    for number in range(rounds):
        for name in list(ready)[:: -1 if number % 2 else 1]:
            times[name].append(ready[name]()[0])
    return times


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for option, known in (("models", [*MODELS]), ("dtypes", ["float32", "bfloat16"]), ("modes", [*MODES])):
        parser.add_argument(f"--{option}", type=lambda given: given.split(","), default=known)
    parser.add_argument("--batches", type=lambda given: [int(one) for one in given.split(",")], default=[1, 8])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=24)
    options = parser.parse_args()
    torch.set_num_threads(1)
    slower = []
    print(f"{'model':<10} {'dtype':<8} {'batch':>5} {'mode':<8} {'port ms':>7}   ratio of the port to", flush=True)
    for name, kind in product(options.models, options.dtypes):
        found = models(name, getattr(torch, kind))
        for batch, mode in product(options.batches, options.modes):
            times = in_turns(sides(found, mode, batch, options.steps), options.rounds)
            cells, ours = [], times.pop("port")
            for dispatch, theirs in times.items():
                ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
                low, middle, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
                cells.append(f"{dispatch} {middle:.2f} ({low:.2f} to {high:.2f})")
                if dispatch == DEFAULT and low > 1:
                    slower.append(f"{name} {kind} batch {batch} {mode}: {middle:.2f}")
            row = f"{name:<10} {kind:<8} {batch:>5} {mode:<8} {median(ours):>7.2f}   {'  '.join(cells)}"
            print(row, flush=True)
    print(f"slower than the source's default dispatch: {'; '.join(slower) or 'nowhere'}")
    return int(bool(slower))


if __name__ == "__main__":
    sys.exit(main())

"""What people saw on devices, made again on the device at hand: each a function of the two sides that says entries.

Contract: sizes are those of the report where it gives them, small otherwise. A graph is made by what the runner would
compile its steps with.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from porter.accept.forbidden import asked_anyway
from porter.accept.judge import beside, first_line, judged, truth_of
from porter.accept.probe import AGREES, DIFFERS, NOT_RUN, NOTED, Say
from porter.accept.sides import Sides, answered, overload
from porter.npu.attention_contract import OP
from porter.runner.backends import Backend, compile_step
from porter.runner.clock import wait_for

_ATTENTION = f"npu::{OP}"
_ND = 2  # torch_npu's number of the format


@dataclass(frozen=True)
class At:
    """Where a report is probed."""

    sides: Sides
    backend: Backend


def mask_of_one_row(at: At, say: Say) -> None:
    """A mask alone, the lengths alone, and both; in eager and in a graph, where npugraph_ex leaves the mask alone."""
    for keys in (256, 512, 513, 1024, 2048):
        values = _attention(keys=keys)
        mask = torch.rand((2, 1, 1, keys), generator=_seeded()) < 0.5
        mask[..., -1] = False
        forms = {"mask": {"atten_mask": mask}, "mask and lengths": {"atten_mask": mask, **_lengths(keys)}}
        for form, more in {**forms, "lengths": _lengths(keys)}.items():
            say({"call": f"{form}, {keys} positions", **judged(_ATTENTION, {**values, **more}, at.sides)})
        if keys == 1024:
            for form, more in forms.items():
                say({"call": f"{form}, {keys} positions, in a graph", **_in_graph(_ATTENTION, {**values, **more}, at)})


def shift_of_scores(at: At, say: Say) -> None:
    for keys in (256, 1024):
        values = _attention(keys=keys)
        for heads in (12, 1):
            shift = torch.randn((1, heads, 1, keys), generator=_seeded()).bfloat16()
            what = f"pse_shift (1, {heads}, 1, {keys})"
            if heads == 12:
                say({"call": what, **judged(_ATTENTION, {**values, "pse_shift": shift}, at.sides)})
            else:
                say(asked_anyway(_ATTENTION, what, {**values, "pse_shift": shift}, at.sides))


def ragged(at: At, say: Say) -> None:
    for size, value_size in ((128, 128), (192, 128)):
        values = {
            **{name: _normal(96, 4, width) for name, width in (("query", size), ("key", size), ("value", value_size))},
            **{name: [32, 96] for name in ("actual_seq_lengths", "actual_seq_lengths_kv")},
            "num_heads": 4,
            "scale": size**-0.5,
            "input_layout": "TND",
            "sparse_mode": 0,
        }
        say({"call": f"TND without a mask, D {size} and {value_size}", **judged(_ATTENTION, values, at.sides)})


def mask_of_another_form(at: At, say: Say) -> None:
    values = _attention(queries=8, keys=64)
    mask = torch.ones(8, 64, dtype=torch.bool).triu(57)
    for mode in (2, 3, 4):
        asked = {**values, "atten_mask": mask, "sparse_mode": mode}
        say(asked_anyway(_ATTENTION, f"a mask (8, 64) with sparse_mode {mode}", asked, at.sides))


def mask_of_every_head(at: At, say: Say) -> None:
    asked = {**_attention(keys=64), "atten_mask": torch.zeros(2, 12, 1, 64, dtype=torch.bool)}
    say(asked_anyway(_ATTENTION, "a mask (B, N, 1, KV)", asked, at.sides))


def rotary_by_heads(at: At, say: Say) -> None:
    for batch, heads, size in ((1, 32, 128), (16, 32, 128), (1, 32, 80)):
        angle = torch.rand((1, 1, 16, size // 2), generator=_seeded()).repeat(1, 1, 1, 2) * 6
        values = {"input": _normal(batch, heads, 16, size), "r1": angle.cos().bfloat16(), "r2": angle.sin().bfloat16()}
        say({"call": f"BNSD ({batch}, {heads}, 16, {size})", **judged("npu::npu_rotary_mul", values, at.sides)})


def many_tokens_routed(at: At, say: Say) -> None:
    for tokens in (1024, 1025, 2048):
        spread = torch.linspace(-4, 4, 64)
        logits = spread[torch.rand((tokens, 64), generator=_seeded()).argsort(-1)]
        found = judged("npu::npu_moe_gating_top_k_softmax", {"x": logits, "k": 8}, at.sides)
        say({"call": f"{tokens} tokens, 64 experts, k 8", **found})


def active_rows_of_a_shape(at: At, say: Say) -> None:
    values = _routed(16, 8, 2)
    say({"call": "active_num of a shape, in a graph", **_in_graph("npu::npu_moe_init_routing_v2", values, at)})


def experts_of_a_rank(at: At, say: Say) -> None:
    states, weight = _normal(96, 64), _normal(4, 64, 32)
    for counts in ([40, 0, 50, 6], [0, 0, 0, 96]):
        groups = {"group_list": torch.tensor(counts), "group_list_type": 1, "group_type": 0, "split_item": 3}
        values = {"x": [states], "weight": [weight], **groups}
        say({"call": f"rows of 4 experts: {counts}", **judged("npu::npu_grouped_matmul", values, at.sides)})


def sum_in_place(at: At, say: Say) -> None:
    """`x += y` of a tensor in a graph, and `add_`."""
    x, y = (_normal(4, 64).to(at.sides.device) for _ in range(2))
    wanted = (x * 2 + y).cpu()
    for name in ("augmented", "added"):
        try:
            found = _compiled(getattr(_InPlace(), name), at)(x, y)
            wait_for(at.sides.device)
        except Exception as error:  # whatever a compiler raises
            say({"call": name, "outcome": DIFFERS, "detail": f"the graph is not made: {first_line(error)}"})
            continue
        say({"call": "x += y" if name == "augmented" else "x.add_(y)", **beside(wanted, found.cpu(), wanted.float())})


def returns_of_the_latent_op(at: At, say: Say) -> None:
    name = "npu_kv_rmsnorm_rope_cache"
    if not hasattr(torch.ops.npu, name):
        say({"call": name, "outcome": NOT_RUN, "detail": "there is no such op here, and porter has no kernel of it"})
        return
    count = len(getattr(torch.ops.npu, name).default._schema.returns)
    say({"call": name, "outcome": NOTED, "detail": f"returns {count} values, 4 in torch_npu 2.13.0"})


def format_of_the_cache(at: At, say: Say) -> None:
    if at.sides.device.type != "npu":
        say({"call": "ND", "outcome": NOT_RUN, "detail": "formats are an NPU's"})
        return
    import torch_npu

    made = torch.empty((1, 16, 4, 128), dtype=torch.float16, device=at.sides.device)
    found = torch_npu.get_npu_format(made)
    outcome = AGREES if found == _ND else DIFFERS
    say({"call": "a new cache", "outcome": outcome, "detail": f"format {found}, ND is {_ND}"})


def writes_read_back(at: At, say: Say) -> None:
    cache, rows = _normal(4, 8, 2, 16), _normal(4, 1, 2, 16)
    whole = {"input": cache, "indices": torch.full((4,), 7), "updates": rows, "axis": 1}
    say({"call": "scatter_update_, the last slot", **judged("npu::scatter_update_", whole, at.sides)})
    places = {"input": cache, "indices": torch.tensor([[0, 7], [3, 0]]), "updates": rows[:2, 0]}
    say({"call": "npu_scatter_nd_update_", **judged("npu::npu_scatter_nd_update_", places, at.sides)})


def range_of_half(at: At, say: Say) -> None:
    """Values whose squares and products leave float16."""
    wide = (torch.randn((8, 512), generator=_seeded()) * 2000).half()
    gamma = torch.ones(512).half()
    say({"call": "rms_norm of 2000", **judged("npu::npu_rms_norm", {"input": wide, "gamma": gamma}, at.sides)})
    both = {"x1": wide, "x2": wide.flip(0), "gamma": gamma}
    say({"call": "add_rms_norm of 2000", **judged("npu::npu_add_rms_norm", both, at.sides)})
    gated = (torch.randn((8, 512), generator=_seeded()) * 40).half()
    say({"call": "swiglu of 40", **judged("npu::npu_swiglu", {"input": gated}, at.sides)})
    values = _attention(keys=64, dtype=torch.float16)
    loud = {name: values[name] * 4 for name in ("query", "key")}
    say({"call": "attention, scores of 40", **judged(_ATTENTION, {**values, **loud}, at.sides)})


def padding_stays_finite(at: At, say: Say) -> None:
    """Rows of padding see themselves: what they give goes on into the router."""
    values = _attention(queries=16, keys=16)
    key = torch.arange(16)
    mask = (key > key[:, None]).expand(2, 1, 16, 16).clone()
    mask[0] |= (key < 6) & (key != key[:, None])
    say({"call": "16 positions, 6 of padding", **judged(_ATTENTION, {**values, "atten_mask": mask}, at.sides)})


class _InPlace:
    def augmented(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x = x * 2
        x += y
        return x

    def added(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x * 2).add_(y)


class _OneOp:
    """An op with its settings, to be compiled: tensors are inputs of the graph, all else is constant."""

    def __init__(self, op: str, settings: dict[str, Any], names: tuple[str, ...]) -> None:
        self.op, self.settings, self.names = overload(op), settings, names

    def call(self, *tensors: torch.Tensor) -> Any:
        named = dict(zip(self.names, tensors, strict=True))
        settings = dict(self.settings)
        if "active_num" in settings:
            settings["active_num"] = named["expert_idx"].shape[0] * named["expert_idx"].shape[1]
        return self.op(**named, **settings)


def _in_graph(op: str, values: dict[str, Any], at: At) -> dict[str, Any]:
    """An entry: the op alone in a graph, beside the host's kernel, and how long a run of it takes."""
    tensors = {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
    one = _OneOp(op, {name: value for name, value in values.items() if name not in tensors}, tuple(tensors))
    moved = [tensor.to(at.sides.device) for tensor in tensors.values()]
    host = at.sides.on_host(op, values)
    try:
        run = _compiled(one.call, at)
        with torch.no_grad():
            found = [each.cpu() for each in run(*moved)]
            spent = list(_spent(run, moved, at.sides.device))
    except Exception as error:  # whatever a compiler raises
        return {"outcome": DIFFERS, "detail": f"the graph is not made: {first_line(error)}"}
    device = answered(op, tuple(found), values)
    return {**beside(host, device, truth_of(op, values, at.sides, host)), "ms": round(1000 * median(spent), 4)}


def _spent(run: Any, arguments: list[torch.Tensor], device: torch.device) -> Iterator[float]:
    for _ in range(5):
        started = time.perf_counter()
        run(*arguments)
        wait_for(device)
        yield time.perf_counter() - started


def _compiled(method: Any, at: At) -> Any:
    torch._dynamo.reset()
    return compile_step(method, at.backend, dynamic=False, cache_folder=None)


def _attention(
    queries: int = 1, keys: int = 64, heads: int = 12, size: int = 64, dtype: torch.dtype = torch.bfloat16
) -> dict[str, Any]:
    """A call in BSND, of the sizes in the report of the mask."""
    lengths = (("query", queries), ("key", keys), ("value", keys))
    drawn = enumerate(lengths)
    tensors = {name: _normal(2, length, heads, size, seed=seed).to(dtype) for seed, (name, length) in drawn}
    return {**tensors, "num_heads": heads, "scale": size**-0.5, "input_layout": "BSND", "num_key_value_heads": heads}


def _lengths(keys: int) -> dict[str, Any]:
    return {"actual_seq_lengths_kv": [keys, keys]}


def _routed(tokens: int, experts: int, choices: int) -> dict[str, Any]:
    chosen = torch.rand((tokens, experts), generator=_seeded()).argsort(-1)[:, :choices].int()
    counts = {"expert_tokens_num_type": 1, "expert_tokens_num_flag": True, "active_expert_range": [0, experts]}
    numbers = {"active_num": tokens * choices, "expert_num": experts}
    return {"x": _normal(tokens, 64), "expert_idx": chosen, **numbers, **counts}


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=_seeded(seed)).bfloat16()


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)

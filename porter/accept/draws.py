"""Values for a recorded call: drawn from a seed, such as the op meets in a model, on the host.

Contract: floats are normal unless an op's own draw says otherwise; what counts, points or masks is drawn by what it
means to the op, so that a valid call is made. Router scores are all different: which of two equal ones comes first is
nobody's promise. An op with integers or bools among its tensors and no draw here raises NoDraw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_map

from porter.accept.calls import Call, TensorOf
from porter.npu.attention_contract import COMPRESSED, OP

_TURN = 2 * torch.pi


class NoDraw(Exception):
    """Nobody has said what values this op takes; the text says of which argument."""


def draw(call: Call, seed: int = 0) -> dict[str, Any]:
    """The arguments of a call with values, by name."""
    generator = torch.Generator().manual_seed(seed)
    own = _DRAWS.get(call.name, _nothing)(call, generator)

    def filled(name: str, value: Any) -> Any:
        if name in own:
            return own[name]
        return tree_map(lambda leaf: _plain(call, name, leaf, generator), value)

    return {name: filled(name, value) for name, value in call.arguments.items()}


def placed(values: torch.Tensor, like: TensorOf) -> torch.Tensor:
    """The values in the dtype and the memory layout of the recorded tensor."""
    made = torch.empty_strided(like.shape, like.stride, dtype=like.dtype)
    return made.copy_(values.reshape(like.shape))


def _plain(call: Call, name: str, leaf: Any, generator: torch.Generator) -> Any:
    if not isinstance(leaf, TensorOf):
        return leaf
    if not leaf.dtype.is_floating_point:
        raise NoDraw(f"no values are known for `{name}` of {call.name}, {leaf}")
    return placed(torch.randn(leaf.shape, generator=generator), leaf)


def _nothing(call: Call, generator: torch.Generator) -> dict[str, Any]:
    return {}


def _norm(call: Call, generator: torch.Generator) -> dict[str, Any]:
    """Rows of three magnitudes: of the smallest the epsilon has a say."""
    own = {}
    for name, value in call.arguments.items():
        if not isinstance(value, TensorOf):
            continue
        if name == "gamma":
            own[name] = placed(1 + 0.1 * torch.randn(value.shape, generator=generator), value)
        else:
            values = torch.randn(value.shape, generator=generator)
            rows = values.reshape(-1, value.shape[-1])
            rows.mul_(torch.tensor([1.0, 1e-3, 30.0]).repeat(len(rows))[: len(rows), None])
            own[name] = placed(rows, value)
    return own


def _rotary(call: Call, generator: torch.Generator) -> dict[str, Any]:
    """Cos and sin of one angle, which both halves (or both neighbours) have."""
    cos, sin = ("r1", "r2") if "r1" in call.arguments else ("cos", "sin")
    table = call.arguments[cos]
    half = torch.rand((*table.shape[:-1], table.shape[-1] // 2), generator=generator) * _TURN
    by_neighbours = call.arguments.get("rotary_mode") == "interleave"
    angle = half.repeat_interleave(2, -1) if by_neighbours else torch.cat((half, half), -1)
    return {cos: placed(angle.cos(), table), sin: placed(angle.sin(), call.arguments[sin])}


def _attention(call: Call, generator: torch.Generator) -> dict[str, Any]:
    mask = call.arguments.get("atten_mask")
    if mask is None:
        return {}
    if tuple(mask.shape[-2:]) == (COMPRESSED, COMPRESSED) and call.arguments.get("sparse_mode", 0) > 1:
        return {"atten_mask": placed(torch.ones(COMPRESSED, COMPRESSED).triu(1).expand(mask.shape), mask)}
    return {"atten_mask": placed(_masked(call, mask), mask)}


def _masked(call: Call, mask: TensorOf) -> torch.Tensor:
    """True = not computed: what comes later, and the first row's padding, which sees itself."""
    at, keys = call.situation, mask.shape[-1]
    key, query = torch.arange(keys), torch.arange(at.queries)[:, None] + at.past
    masked = (key > query).expand(at.batch, at.queries, keys).clone()
    masked[0] |= (key < at.padding) & (key != query)
    rows = masked if mask.shape[0] == at.batch and len(mask.shape) > 2 else masked[1:2]
    return rows if rows.numel() == torch.Size(mask.shape).numel() else masked


def _scatter(call: Call, generator: torch.Generator) -> dict[str, Any]:
    indices = call.arguments["indices"]
    at = torch.full((indices.shape[0],), call.situation.past)
    if len(indices.shape) == 2:
        at = torch.stack((torch.arange(indices.shape[0]), at), 1)
    return {"indices": placed(at, indices)}


def _slices(call: Call, generator: torch.Generator) -> dict[str, Any]:
    """Places of npu_scatter_nd_update_, each once."""
    target, indices = call.arguments["input"], call.arguments["indices"]
    sizes = target.shape[: indices.shape[-1]]
    places = torch.randperm(torch.Size(sizes).numel(), generator=generator)[: torch.Size(indices.shape[:-1]).numel()]
    return {"indices": placed(torch.stack(torch.unravel_index(places, sizes), -1), indices)}


def _shuffled(rows: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """(rows, count): each row a permutation."""
    return torch.rand((rows, count), generator=generator).argsort(-1)


def _router(call: Call, generator: torch.Generator) -> dict[str, Any]:
    logits = call.arguments["x"]
    rows, experts = torch.Size(logits.shape[:-1]).numel(), logits.shape[-1]
    spread = torch.linspace(-4, 4, experts)
    own = {"x": placed(spread[_shuffled(rows, experts, generator)], logits)}
    if isinstance(call.arguments.get("bias"), TensorOf):
        bias = torch.linspace(-0.3, 0.3, experts)[_shuffled(1, experts, generator)]
        own["bias"] = placed(bias, call.arguments["bias"])
    return own


def _routing(call: Call, generator: torch.Generator) -> dict[str, Any]:
    chosen = call.arguments["expert_idx"]
    tokens, choices = chosen.shape
    picked = _shuffled(tokens, call.arguments["expert_num"], generator)[:, :choices]
    return {"expert_idx": placed(picked, chosen)}


def _grouped(call: Call, generator: torch.Generator) -> dict[str, Any]:
    """Every third expert has no rows, where there are several."""
    groups, (states,), (weight,) = (call.arguments[name] for name in ("group_list", "x", "weight"))
    count = groups.shape[0]
    share = torch.rand(count, generator=generator) * (torch.arange(count) % 3 != 1)
    ends = (share.cumsum(0) / share.sum() * states.shape[0]).round().long()
    ends[-1] = states.shape[0]
    counts = ends.diff(prepend=ends.new_zeros(1))
    scaled = torch.randn(weight.shape, generator=generator) * weight.shape[1] ** -0.5
    listed = counts if call.arguments.get("group_list_type") == 1 else ends
    return {"group_list": placed(listed, groups), "weight": [placed(scaled, weight)]}


def _combined(call: Call, generator: torch.Generator) -> dict[str, Any]:
    places = call.arguments["expanded_src_to_dst_row"]
    own = {"expanded_src_to_dst_row": placed(torch.randperm(places.shape[0], generator=generator), places)}
    scales, chosen, bias = (call.arguments.get(name) for name in ("scales", "export_for_source_row", "bias"))
    if isinstance(scales, TensorOf):
        own["scales"] = placed(torch.rand(scales.shape, generator=generator), scales)
    if isinstance(chosen, TensorOf) and isinstance(bias, TensorOf):
        own["export_for_source_row"] = placed(
            torch.randint(bias.shape[0], chosen.shape, generator=generator), chosen
        )
    return own


def _gated(call: Call, generator: torch.Generator) -> dict[str, Any]:
    """Wide enough that a clip has a say."""
    name, value = next((name, value) for name, value in call.arguments.items() if isinstance(value, TensorOf))
    return {name: placed(4 * torch.randn(value.shape, generator=generator), value)}


def _over_ranks(call: Call, generator: torch.Generator) -> dict[str, Any]:
    raise NoDraw(f"{call.name} sums over ranks: it takes part where `--tp` asks for them")


_Drawn = Callable[[Call, torch.Generator], dict[str, Any]]
_DRAWS: dict[str, _Drawn] = {
    **dict.fromkeys(("npu_rms_norm", "npu_gemma_rms_norm", "npu_add_rms_norm", "npu_add_rms_norm_cast"), _norm),
    **dict.fromkeys(("npu_rotary_mul", "npu_interleave_rope", "npu_apply_rotary_pos_emb"), _rotary),
    **dict.fromkeys(("npu_swiglu", "npu_geglu", "npu_clipped_swiglu"), _gated),
    **dict.fromkeys(("scatter_update", "scatter_update_"), _scatter),
    **dict.fromkeys(("npu_scatter_nd_update", "npu_scatter_nd_update_"), _slices),
    **dict.fromkeys(("npu_moe_gating_top_k", "npu_moe_gating_top_k_softmax"), _router),
    OP: _attention,
    "npu_moe_init_routing_v2": _routing,
    "npu_grouped_matmul": _grouped,
    "npu_moe_finalize_routing": _combined,
    "npu_mm_all_reduce_base": _over_ranks,
}

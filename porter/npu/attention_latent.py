"""Attention with rope parts beside query and key (MLA): what the device demands of them, and the call without them.

    softmax(scale * (query @ key.T + query_rope @ key_rope.T), masked) @ value

Two forms: absorbed, D 512, where all query heads share one latent that is key and value at once; and expanded, D 128.
Limits are those of the op's documentation and, for masks, of which it says nothing, of the public CANN operator source.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from porter.npu.attention_contract import BAND, OP, RIGHT_DOWN_CAUSAL, Call
from porter.npu.contract import ContractError, check_same_dtype, same_sizes, shape
from porter.npu.once import once_a_signature

_ROPE, _LATENT, _EXPANDED = 64, 512, 128
_LATENT_HEADS = (1, 2, 4, 8, 16, 32, 64, 128)
_LATENT_LAYOUTS = ("BSH", "BSND", "BNSD", "TND")


def without_rope(call: Call) -> Call:
    """The same call with each rope part at the end of its query or key; as it is where there are none. Raises
    ContractError."""
    if call.query_rope is None and call.key_rope is None:
        return call
    _check_once(*vars(call).values())
    query = _beside(call, call.query, call.query_rope, call.num_heads)
    return replace(call, query=query, key=_beside(call, call.key, call.key_rope, call.kv_heads))


@once_a_signature
def _check_once(*values: object) -> None:
    check_latent(Call(*values))  # type: ignore[arg-type]


def _beside(call: Call, states: torch.Tensor, rope: torch.Tensor | None, heads: int) -> torch.Tensor:
    assert rope is not None
    if call.input_layout != "BSH":
        return torch.cat((states, rope), -1)
    return torch.cat((states.unflatten(-1, (heads, -1)), rope.unflatten(-1, (heads, -1))), -1).flatten(-2)


def check_latent(call: Call) -> None:
    """Raises ContractError for the first limit that the rope parts break."""
    size = call.query_sizes[3]
    if size not in (_EXPANDED, _LATENT):
        raise ContractError(OP, "query", f"must have D {_EXPANDED} or {_LATENT} beside a query_rope", f"D={size}")
    for name, rope, of, states, heads in (
        ("query_rope", call.query_rope, "query", call.query, call.num_heads),
        ("key_rope", call.key_rope, "key", call.key, call.kv_heads),
    ):
        if rope is None:
            raise ContractError(OP, name, "must be given where the other rope part is", None)
        check_same_dtype(OP, name, rope, of, states.dtype)
        width = _ROPE * heads if call.input_layout == "BSH" else _ROPE
        if not same_sizes(rope.shape, (*states.shape[:-1], width)):
            raise ContractError(OP, name, f"must have the shape of {of} {shape(states)} with D 64", shape(rope))
        if not rope.is_contiguous():
            raise ContractError(OP, name, "must be contiguous", f"strides {rope.stride()}")
    for name, value in (
        ("pse_shift", call.pse_shift),
        ("query_padding_size", call.query_padding_size),
        ("kv_padding_size", call.kv_padding_size),
    ):
        if value is not None:
            raise ContractError(OP, name, "must be left out beside rope parts", shape(value))
    if size == _LATENT:
        _check_absorbed(call)


def _check_absorbed(call: Call) -> None:
    if call.num_heads not in _LATENT_HEADS:
        limit = f"must be one of {', '.join(map(str, _LATENT_HEADS))} with D {_LATENT}"
        raise ContractError(OP, "num_heads", limit, call.num_heads)
    if call.kv_heads != 1:
        raise ContractError(OP, "num_key_value_heads", f"must be 1 with D {_LATENT}", call.kv_heads)
    if call.input_layout not in _LATENT_LAYOUTS:
        limit = f"must be one of {', '.join(_LATENT_LAYOUTS)} with D {_LATENT}"
        raise ContractError(OP, "input_layout", limit, call.input_layout)
    if call.softmax_lse_flag:
        raise ContractError(OP, "softmax_lse_flag", f"must be False with D {_LATENT}", True)
    several = not call.ragged and bool(call.query_sizes[1] != 1)
    modes = (0, RIGHT_DOWN_CAUSAL) if call.ragged else (RIGHT_DOWN_CAUSAL, BAND) if several else (0, BAND)
    if call.sparse_mode not in modes:
        rows = "TND" if call.ragged else "several query positions" if several else "one query position"
        limit = f"must be {modes[0]} or {modes[1]} with D {_LATENT} and {rows}"
        raise ContractError(OP, "sparse_mode", limit, call.sparse_mode)
    if call.sparse_mode == 0 and call.atten_mask is not None:
        limit = f"must be left out with D {_LATENT} and sparse_mode 0: lengths alone say what is read"
        raise ContractError(OP, "atten_mask", limit, shape(call.atten_mask))

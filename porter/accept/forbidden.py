"""Calls that the contract of an op forbids, made out of a valid one: does the device refuse them too?

Contract: only sizes, dtypes and settings are wrong, which a device looks at before it computes; nothing points outside
of a tensor. The host's kernel refuses each of them, or it is no such call. A device that takes one computes something
nobody has promised: that is a finding about the contract, not about the port, which never makes the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from porter.accept.judge import forbidden
from porter.accept.sides import Sides
from porter.npu import ContractError
from porter.npu.attention_contract import OP

Values = Mapping[str, Any]
Wrong = Callable[[Values], dict[str, Any]]


def forbidden_calls(name: str, values: Values) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is wrong, in words, and the arguments."""
    floats = [key for key, value in values.items() if isinstance(value, torch.Tensor) and value.is_floating_point()]
    for key in floats[:1]:
        yield f"`{key}` in float64", {**values, key: values[key].double()}
    for what, wrong in _WRONG.get(name, {}).items():
        yield what, {**values, **wrong(values)}


def refusals(op: str, values: Values, positional: int, sides: Sides) -> Iterator[dict[str, Any]]:
    """An entry for each."""
    for what, arguments in forbidden_calls(op.partition("::")[2], values):
        try:
            sides.on_host(op, arguments, positional)
        except ContractError as error:
            yield {"forbidden": what, "contract": str(error), **forbidden(op, arguments, positional, sides)}


def asked_anyway(op: str, what: str, arguments: Values, sides: Sides) -> dict[str, Any]:
    """An entry for one call that the contract must forbid."""
    try:
        sides.on_host(op, arguments, 0)
    except ContractError as error:
        return {"forbidden": what, "contract": str(error), **forbidden(op, arguments, 0, sides)}
    raise AssertionError(f"{op} takes {what}")


def _other(tensor: torch.Tensor) -> torch.Tensor:
    """The values in another 16-bit dtype."""
    return tensor.to(torch.float16 if tensor.dtype is torch.bfloat16 else torch.bfloat16)


def _in_other(name: str) -> dict[str, Wrong]:
    return {f"`{name}` in another dtype": lambda values: {name: _other(values[name])}}


def _odd(name: str) -> dict[str, Wrong]:
    return {f"`{name}` with an odd last size": lambda values: {name: values[name][..., :-1].contiguous()}}


def _wide_heads(values: Values) -> dict[str, Any]:
    dtype = values["query"].dtype
    tensors = {name: torch.zeros((1, 1, 1, 520), dtype=dtype) for name in ("query", "key", "value")}
    return {**tensors, "num_heads": 1, "num_key_value_heads": 1, "atten_mask": None, "actual_seq_lengths_kv": None}


def _wide_rotary(values: Values) -> dict[str, Any]:
    return {name: torch.zeros((1, 1, 1, 896), dtype=values["input"].dtype) for name in ("input", "r1", "r2")}


def _many_rows(values: Values) -> dict[str, Any]:
    size = values["input"].shape[-1]
    rows, table = (torch.zeros((count, 1, 1, size), dtype=values["input"].dtype) for count in (1000, 1))
    return {"input": rows, "r1": table, "r2": table}


_WRONG: dict[str, dict[str, Wrong]] = {
    "npu_rms_norm": _in_other("gamma"),
    "npu_add_rms_norm": {
        **_in_other("gamma"),
        "`x2` of one row, to be broadcast": lambda values: {"x2": values["x2"][:1, :1]},
    },
    "npu_rotary_mul": {
        "head_dim 896": _wide_rotary,
        "a batch of 1000": _many_rows,
        "rotary_mode 'quarter'": lambda values: {"rotary_mode": "quarter"},
    },
    "npu_interleave_rope": _in_other("cos"),
    "scatter_update_": _in_other("updates"),
    OP: {
        **_in_other("key"),
        "head_dim 520": _wide_heads,
        "a mask of scores": lambda values: {"atten_mask": torch.zeros(2, 1, 1, values["key"].shape[1])},
        "input_layout 'BNDS'": lambda values: {"input_layout": "BNDS"},
    },
    "npu_swiglu": {
        **_odd("input"),
        "`input` not contiguous": lambda values: {"input": values["input"].repeat_interleave(2, -1)[..., ::2]},
    },
    "npu_geglu": {**_odd("input"), "approximate 2": lambda values: {"approximate": 2}},
    "npu_clipped_swiglu": {**_odd("x"), "limit 0": lambda values: {"limit": 0.0}},
    "npu_moe_gating_top_k_softmax": {"k 0": lambda values: {"k": 0}},
    "npu_moe_gating_top_k": {"renorm 1": lambda values: {"renorm": 1}},
    "npu_moe_init_routing_v2": {
        "`expert_idx` in int64": lambda values: {"expert_idx": values["expert_idx"].long()},
    },
    "npu_grouped_matmul": {
        "`weight` in another dtype": lambda values: {"weight": [_other(values["weight"][0])]},
        "`group_list` in int32": lambda values: {"group_list": values["group_list"].int()},
    },
    "npu_moe_finalize_routing": {
        **_in_other("scales"),
        "places in int64": lambda values: {"expanded_src_to_dst_row": values["expanded_src_to_dst_row"].long()},
    },
}

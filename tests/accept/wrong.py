"""Ops made wrong on purpose: what a device may do, each as a stand-in, `(the op, its arguments by name) -> result`."""

import torch

from porter.npu.attention_contract import OP

EXPERTS = "npu_moe_init_routing_v2"


def with_other(**changed):
    """The op, called with other arguments than it was given: functions of the right ones."""

    def stand_in(right, given):
        return right(**{**given, **{name: change(given) for name, change in changed.items()}})

    return stand_in


def on_result(change):
    """The op's result, changed; of several the first."""

    def stand_in(right, given):
        result = right(**given)
        if isinstance(result, torch.Tensor):
            return change(result)
        return type(result)([change(result[0]), *result[1:]])

    return stand_in


def through(dtype):
    """Rounded to a coarser dtype on the way."""
    return on_result(lambda values: values.to(dtype).to(values.dtype))


def coarser(values):
    """The last two bits of a 16-bit float lost."""
    return (values.view(torch.int16) & -4).view(values.dtype)


def exchanged(one, other):
    return with_other(**{one: lambda given: given[other], other: lambda given: given[one]})


def _inverted(given):
    mask = given.get("atten_mask")
    return None if mask is None else ~mask.bool()


def _next_slot(right, given):
    slots, length = given["input"].shape[given["axis"]], given["updates"].shape[given["axis"]]
    moved = torch.where(given["indices"] + length < slots, given["indices"] + 1, given["indices"] - 1)
    return right(**{**given, "indices": moved.clamp(min=0)})


def _one_key_less(given):
    lengths = given.get("actual_seq_lengths_kv")
    return None if lengths is None else [max(length - 1, 1) for length in lengths]


def _rotates_neighbours(right, given):
    even, odd = given["input"][..., ::2], given["input"][..., 1::2]
    turned = torch.stack((-odd, even), -1).flatten(-2)
    return given["input"] * given["r1"] + turned * given["r2"]


def _swapped_halves(given):
    first, second = given["input"].chunk(2, -1)
    return torch.cat((second, first), -1)


def _forgets_the_residual(right, given):
    y, rstd, _ = right(**given)
    return y, rstd, given["x1"].clone()


def _group_late(given):
    return [given["group_list"].roll(1)][0]


def _by_columns(given):
    places = given["expanded_src_to_dst_row"]
    return places.view(-1, given["scales"].shape[1]).t().reshape(-1)


# op -> what is wrong with it -> the stand-in
FAULTS = {
    "npu_rms_norm": {
        "no gamma": with_other(gamma=lambda given: torch.ones_like(given["gamma"])),
        "another epsilon": with_other(epsilon=lambda given: 1e-5 if given.get("epsilon") != 1e-5 else 1e-6),
        "coarse rounding": on_result(coarser),
    },
    "npu_add_rms_norm": {
        "the first summand alone is handed on": _forgets_the_residual,
        "coarse rounding": on_result(coarser),
    },
    "npu_rotary_mul": {
        "cos and sin swapped": exchanged("r1", "r2"),
        "neighbours": _rotates_neighbours,
        "sin of the other sign": with_other(r2=lambda given: -given["r2"]),
    },
    "npu_interleave_rope": {"cos and sin swapped": exchanged("cos", "sin")},
    "scatter_update_": {
        "one slot on": _next_slot,
        "nothing is written": lambda right, given: given["input"],
    },
    OP: {
        "the scale dropped": with_other(scale=lambda given: 1.0),
        "the mask's polarity": with_other(atten_mask=_inverted),
        "one key less": with_other(actual_seq_lengths_kv=_one_key_less),
        "coarse rounding": on_result(coarser),
    },
    "npu_swiglu": {
        "gate and up swapped": with_other(input=_swapped_halves),
        "coarse rounding": on_result(coarser),
    },
    "npu_geglu": {
        "erf for tanh, and the other half": with_other(activate_left=lambda given: not given["activate_left"]),
    },
    "npu_clipped_swiglu": {
        "no limit": with_other(limit=lambda given: 1e4),
        "another alpha": with_other(alpha=lambda given: 1.0),
    },
    "npu_moe_gating_top_k_softmax": {
        "one expert on": lambda right, given: (lambda y, e, r: (y, (e + 1) % given["x"].shape[-1], r))(*right(**given)),
        "weights that sum to one": on_result(lambda weights: weights / weights.sum(-1, keepdim=True)),
    },
    "npu_moe_gating_top_k": {
        "the scaling dropped": on_result(lambda weights: weights * 0.4),
        "experts by another order": lambda right, given: (lambda y, e, r: (y, e.flip(-1), r))(*right(**given)),
    },
    EXPERTS: {
        "cumulative counts": with_other(expert_tokens_num_type=lambda given: 0),
        "rows of the next token": with_other(x=lambda given: given["x"].roll(1, 0)),
    },
    "npu_grouped_matmul": {
        "groups of the next expert": with_other(group_list=_group_late),
        "coarse rounding": on_result(coarser),
    },
    "npu_moe_finalize_routing": {
        "no scales": with_other(scales=lambda given: torch.ones_like(given["scales"])),
        "choices by columns": with_other(expanded_src_to_dst_row=_by_columns),
    },
}

"""Experts gated by gelu, asked one after another -> grouped matrix products over all of them, with npu_geglu between

Why:      as `experts`: the loop's shapes hang on the data, and no graph of it can be lowered; here five kernels have
          fixed shapes.
Numerics: as `experts`, with the gate of `geglu`: fp32 inside; in bf16 one rounding, where the source rounds gelu(gate)
          first; in fp16 the kernel rounds gelu(gate) first too.
Contract: as `experts` but for the gate. torch_npu.npu_geglu activates the right half unless told otherwise: the rows of
          gate come first, and activate_left is True. approximate is 1 for the tanh form and 0 for erf: a configuration
          with another activation is refused when the model is built.
"""

import torch

from porter.npu import torch_npu
from porter.rule import Edit, Rule
from rules.shared.activation import before_init
from rules.shared.experts_in_turn import (
    before_forward,
    not_forward_weighted_before,
    not_forward_with_the_gate_last,
    not_forward_without_a_gate,
)

rule = Rule(
    edits=(
        Edit("forward", site="experts.forward", unit="function", answers=("experts",)),
        Edit("init", site="experts.__init__", unit="statements"),
    ),
    attributes=("gate_up_proj", "down_proj", "act_fn"),
    guards={"activation": ("gelu", "gelu_pytorch_tanh")},
    splits={"gate_up_proj": ("halves", 1), "down_proj": ("pieces", 2)},
)


def after_forward(self, tokens, chosen, shares):
    rows, places, counts, _ = torch_npu.npu_moe_init_routing_v2(
        tokens,
        chosen.to(torch.int32),
        active_num=chosen.numel(),
        expert_num=self.num_experts,
        expert_tokens_num_type=1,
        expert_tokens_num_flag=True,
        active_expert_range=[0, self.num_experts],
        quant_mode=-1,
    )
    groups = {"group_list": counts, "group_list_type": 1, "group_type": 0, "split_item": 3}
    gate_up = torch_npu.npu_grouped_matmul(
        [rows],
        [self.gate_up_proj.transpose(1, 2)],
        **groups,
    )[0]
    inner = torch_npu.npu_geglu(gate_up, -1, self.approximate, True)[0]
    output = torch_npu.npu_grouped_matmul(
        [inner],
        [self.down_proj.transpose(1, 2)],
        **groups,
    )[0]
    return torch_npu.npu_moe_finalize_routing(
        output,
        skip1=None,
        skip2=None,
        bias=None,
        scales=shares.to(output.dtype),
        expanded_src_to_dst_row=places,
        export_for_source_row=None,
        drop_pad_mode=2,
    )


def after_init(self, activation):
    if activation not in ("gelu", "gelu_pytorch_tanh"):
        raise ValueError(f"npu_geglu computes gelu; this configuration asks for {activation!r}")
    self.approximate = int(activation == "gelu_pytorch_tanh")


def _experts(draw, init):
    """Four experts whose rows pick gate, up and output unrounded: what is compared is all but sums of products."""
    self = draw.module(num_experts=4)
    init(self, draw.choice(("gelu", "gelu_pytorch_tanh")))
    inputs, inner = torch.eye(64, dtype=draw.dtype), torch.eye(32, dtype=draw.dtype)
    self.gate_up_proj = inputs[draw.integers(0, 64, 4, 64)]
    self.down_proj = inner[draw.integers(0, 32, 4, 64)]
    return self


def _run(draw, forward, init):
    """One token, few and many; an expert may get none of them, or all. One tensor of numbers that are alike, as the
    largest error of few values is chance."""
    self, outputs = _experts(draw, init), []
    for count in (1, 2, 509):
        tokens, shares = draw.uniform(count, 64, low=1.5, high=1.9), draw.uniform(count, 2, low=0.45, high=0.55)
        if draw.choice((True, False)) and shares.dtype is torch.bfloat16:
            shares = shares.to(torch.float32)  # as some routers give them
        order = draw.uniform(count, draw.choice((2, 3, 4))).argsort(-1)
        outputs.append(forward(self, tokens, order[:, :2], shares))
    return torch.cat(outputs)


def proof_before(draw):
    return _run(draw, before_forward, before_init)


def proof_after(draw):
    return _run(draw, after_forward, after_init)

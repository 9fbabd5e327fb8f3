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
from torch import nn
from transformers.activations import ACT2FN

from porter.npu import torch_npu
from porter.rule import Argument, Edit, Rule

rule = Rule(
    edits=(
        Edit("forward", site="experts.forward", unit="function", answers=("experts",)),
        Edit("init", site="experts.__init__", unit="statements"),
    ),
    attributes=("gate_up_proj", "down_proj", "act_fn"),
    guards={"activation": ("gelu", "gelu_pytorch_tanh")},
    splits={"gate_up_proj": ("halves", 1), "down_proj": ("pieces", 2)},
)


# `classes`: a one-hot code has room for every expert, or fails. transformers 5.16 gives it that room, 5.18 one more.
def before_forward(self, tokens: Argument, chosen: Argument, shares: Argument, classes=5):
    output = torch.zeros_like(tokens)
    with torch.no_grad():
        mask = torch.nn.functional.one_hot(chosen, num_classes=classes)
        mask = mask.permute(2, 1, 0)
        hit = torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero()
    for expert in hit:
        expert = expert[0]
        if expert == self.num_experts:
            continue
        place, token = torch.where(mask[expert])
        current = tokens[token]
        gate, up = nn.functional.linear(current, self.gate_up_proj[expert]).chunk(2, dim=-1)
        inner = self.act_fn(gate) * up
        inner = nn.functional.linear(inner, self.down_proj[expert])
        inner = inner * shares[token, place, None]
        output.index_add_(0, token, inner.to(output.dtype))
    return output


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


def before_init(self, activation):
    self.act_fn = ACT2FN[activation]


def after_init(self, activation):
    if activation not in ("gelu", "gelu_pytorch_tanh"):
        raise ValueError(f"npu_geglu computes gelu; this configuration asks for {activation!r}")
    self.approximate = int(activation == "gelu_pytorch_tanh")


def not_forward_without_a_gate(self, tokens, chosen, shares):
    """One projection and its activation: no geglu."""
    output = torch.zeros_like(tokens)
    with torch.no_grad():
        mask = torch.nn.functional.one_hot(chosen, num_classes=self.num_experts + 1)
        mask = mask.permute(2, 1, 0)
        hit = torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero()
    for expert in hit:
        expert = expert[0]
        if expert == self.num_experts:
            continue
        place, token = torch.where(mask[expert])
        current = tokens[token]
        inner = nn.functional.linear(current, self.up_proj[expert])
        inner = self.act_fn(inner)
        inner = nn.functional.linear(inner, self.down_proj[expert])
        inner = inner * shares[token, place, None]
        output.index_add_(0, token, inner.to(output.dtype))
    return output


def not_forward_with_the_gate_last(self, tokens, chosen, shares):
    """The activation must be on the first half."""
    output = torch.zeros_like(tokens)
    with torch.no_grad():
        mask = torch.nn.functional.one_hot(chosen, num_classes=self.num_experts + 1)
        mask = mask.permute(2, 1, 0)
        hit = torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero()
    for expert in hit:
        expert = expert[0]
        if expert == self.num_experts:
            continue
        place, token = torch.where(mask[expert])
        current = tokens[token]
        up, gate = nn.functional.linear(current, self.gate_up_proj[expert]).chunk(2, dim=-1)
        inner = self.act_fn(gate) * up
        inner = nn.functional.linear(inner, self.down_proj[expert])
        inner = inner * shares[token, place, None]
        output.index_add_(0, token, inner.to(output.dtype))
    return output


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

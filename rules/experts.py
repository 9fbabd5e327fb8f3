"""Experts that are asked one after another -> grouped matrix products over all of them, with npu_swiglu between

Why:      the source asks which experts were hit and loops over them: shapes hang on the data, one host read a layer,
          and no graph of it can be lowered. Here five kernels have fixed shapes: tokens sorted by expert, two grouped
          products, the activation, and the weighted sum in the order of the tokens.
Numerics: products as in the source; silu and its product in fp32 with one rounding, and the weighted sum of a token
          too (in fp16 the op rounds each step of it), where the source rounds after every expert. Shares that a router
          leaves in fp32 are rounded with that: in bf16 still fewer roundings than the source's, in fp16 as many.
Contract: torch_npu.npu_grouped_matmul takes weights as (experts, in, out): the source's (experts, out, in) go in as
          a transposed view, so checkpoints and memory stay as they are. Counts a group need two experts or more.
          npu_moe_init_routing_v2 wants every chosen expert to be one of the layer's: an index beyond them is only
          made by transformers' expert parallelism, which a port refuses. npu_moe_finalize_routing takes the shares
          in the dtype of the rows. Only silu is npu_swiglu: another activation is refused when the model is built.
"""

import torch
from torch import nn
from torch.nn import functional as F

from porter.npu import torch_npu
from porter.rule import Argument, Edit, Rule
from rules.shared.activation import after_init, before_init
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
    guards={"activation": ("silu", "swish")},
    splits={
        "gate_up_proj": ("halves", 1),
        "gate_up_proj__stored_as_multiplied": ("halves", 2),
        "down_proj": ("pieces", 2),
        "down_proj__stored_as_multiplied": ("pieces", 1),
    },
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
    inner = torch_npu.npu_swiglu(gate_up)
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


def before_forward__stored_as_multiplied(self, tokens: Argument, chosen: Argument, shares: Argument, classes=5):
    output = torch.zeros_like(tokens)
    with torch.no_grad():
        mask = nn.functional.one_hot(chosen, num_classes=classes)
        mask = mask.permute(2, 1, 0)
        hit = torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero()
    for expert in hit:
        expert = expert[0]
        if expert == self.num_experts:
            continue
        place, token = torch.where(mask[expert])
        current = tokens[token]
        gate, up = (current @ self.gate_up_proj[expert]).chunk(2, dim=-1)
        inner = self.act_fn(gate) * up
        inner = inner @ self.down_proj[expert]
        inner = inner * shares[token, place, None]
        output.index_add_(0, token, inner.to(output.dtype))
    return output


def after_forward__stored_as_multiplied(self, tokens, chosen, shares):
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
        [self.gate_up_proj],
        **groups,
    )[0]
    inner = torch_npu.npu_swiglu(gate_up)
    output = torch_npu.npu_grouped_matmul(
        [inner],
        [self.down_proj],
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


def before_init__called(self):
    self.act_fn = F.silu


def after_init__called(self):
    pass


def not_forward_with_a_bias(self, tokens, chosen, shares):
    """What a product adds must be added by the port too."""
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
        gate, up = (current @ self.gate_up_proj[expert] + self.gate_up_proj_bias[expert]).chunk(2, dim=-1)
        inner = self.act_fn(gate) * up
        inner = inner @ self.down_proj[expert]
        inner = inner * shares[token, place, None]
        output.index_add_(0, token, inner.to(output.dtype))
    return output


def _experts(draw, init, *activation, transposed=False):
    """Four experts whose rows pick gate, up and output unrounded: what is compared is all but sums of products."""
    self = draw.module(num_experts=4)
    init(self, *activation)
    inputs, inner = torch.eye(64, dtype=draw.dtype), torch.eye(32, dtype=draw.dtype)
    self.gate_up_proj = inputs[draw.integers(0, 64, 4, 64)]
    self.down_proj = inner[draw.integers(0, 32, 4, 64)]
    if transposed:
        self.gate_up_proj = self.gate_up_proj.transpose(1, 2).contiguous()
        self.down_proj = self.down_proj.transpose(1, 2).contiguous()
    return self


def _run(draw, forward, self):
    """One token, few and many; an expert may get none of them, or all. One tensor of numbers that are alike, as the
    largest error of few values is chance."""
    outputs = []
    for count in (1, 2, 509):
        tokens, shares = draw.uniform(count, 64, low=1.5, high=1.9), draw.uniform(count, 2, low=0.45, high=0.55)
        if draw.choice((True, False)) and shares.dtype is torch.bfloat16:
            shares = shares.to(torch.float32)  # as some routers give them
        order = draw.uniform(count, draw.choice((2, 3, 4))).argsort(-1)
        outputs.append(forward(self, tokens, order[:, :2], shares))
    return torch.cat(outputs)


def proof_before(draw):
    plain = _run(draw, before_forward, _experts(draw, before_init, "silu"))
    transposed = _experts(draw, before_init__called, transposed=True)
    return plain, _run(draw, before_forward__stored_as_multiplied, transposed)


def proof_after(draw):
    plain = _run(draw, after_forward, _experts(draw, after_init, "silu"))
    transposed = _experts(draw, after_init__called, transposed=True)
    return plain, _run(draw, after_forward__stored_as_multiplied, transposed)

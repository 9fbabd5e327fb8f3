"""Experts with biases and a clamped gate, asked one after another -> grouped products, npu_clipped_swiglu between

Why:      as for experts without either: the loop's shapes hang on the data, and no graph of it can be lowered. The gate
          is one kernel for eleven, gate and up lying side by side as the checkpoint has them.
Numerics: biases are added in fp32 before the product is rounded, the gate is fp32 with one rounding, and so is the
          weighted sum of a token (in fp16 the op rounds each step of it); the source rounds after each.
Contract: torch_npu.npu_grouped_matmul takes weights as they are stored here, (experts, in, out), and a bias in fp32
          beside bf16, else in the dtype of the rows. npu_clipped_swiglu takes gate at the even places and up at the odd
          ones. Every chosen expert must be one of the layer's; counts a group need two experts or more.
"""

import torch

from porter.npu import torch_npu
from porter.rule import Argument, Edit, Rule

rule = Rule(
    edits=(
        Edit("forward", site="experts.forward", unit="function", answers=("experts",)),
        Edit("gate", site="experts._apply_gate", unit="function"),
    ),
    splits={
        "gate_up_proj": ("pairs", 2),
        "gate_up_proj_bias": ("pairs", 1),
        "down_proj": ("pieces", 1),
        "down_proj_bias": ("once", 0),
    },
)


def before_forward(self, tokens: Argument, chosen: Argument, shares: Argument):
    output = torch.zeros_like(tokens, dtype=tokens.dtype, device=tokens.device)
    with torch.no_grad():
        mask = torch.nn.functional.one_hot(chosen, num_classes=self.num_experts)
        mask = mask.permute(2, 1, 0)
        hit = torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero()
    for expert in hit:
        expert = expert[0]
        if expert == self.num_experts:
            continue
        place, token = torch.where(mask[expert])
        current = tokens[token]
        gate_up = current @ self.gate_up_proj[expert] + self.gate_up_proj_bias[expert]
        inner = self._apply_gate(gate_up)
        row = inner @ self.down_proj[expert] + self.down_proj_bias[expert]
        weighted = row * shares[token, place, None]
        output.index_add_(0, token, weighted.to(tokens.dtype))
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
    added = torch.float32 if tokens.dtype is torch.bfloat16 else tokens.dtype
    gate_up = torch_npu.npu_grouped_matmul(
        [rows],
        [self.gate_up_proj],
        bias=[self.gate_up_proj_bias.to(added)],
        **groups,
    )[0]
    inner = self._apply_gate(gate_up)
    output = torch_npu.npu_grouped_matmul(
        [inner],
        [self.down_proj],
        bias=[self.down_proj_bias.to(added)],
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


def before_gate(self, gate_up: Argument):
    gate, up = gate_up[..., ::2], gate_up[..., 1::2]
    gate = gate.clamp(min=None, max=self.limit)
    up = up.clamp(min=-self.limit, max=self.limit)
    return (up + 1) * (gate * torch.sigmoid(gate * self.alpha))


def after_gate(self, gate_up):
    return torch_npu.npu_clipped_swiglu(gate_up, alpha=self.alpha, limit=self.limit)


def not_gate_of_halves(self, gate_up):
    """Gate and up lie side by side here, not one behind the other."""
    gate, up = gate_up.chunk(2, dim=-1)
    gate = gate.clamp(min=None, max=self.limit)
    up = up.clamp(min=-self.limit, max=self.limit)
    return (up + 1) * (gate * torch.sigmoid(gate * self.alpha))


def not_gate_clamped_below(self, gate_up):
    """The op clamps the gate from above alone."""
    gate, up = gate_up[..., ::2], gate_up[..., 1::2]
    gate = gate.clamp(min=-self.limit, max=self.limit)
    up = up.clamp(min=-self.limit, max=self.limit)
    return (up + 1) * (gate * torch.sigmoid(gate * self.alpha))


def not_forward_without_biases(self, tokens, chosen, shares):
    """A product that adds nothing."""
    output = torch.zeros_like(tokens, dtype=tokens.dtype, device=tokens.device)
    with torch.no_grad():
        mask = torch.nn.functional.one_hot(chosen, num_classes=self.num_experts)
        mask = mask.permute(2, 1, 0)
        hit = torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero()
    for expert in hit:
        expert = expert[0]
        if expert == self.num_experts:
            continue
        place, token = torch.where(mask[expert])
        current = tokens[token]
        gate_up = current @ self.gate_up_proj[expert]
        inner = self._apply_gate(gate_up)
        row = inner @ self.down_proj[expert]
        weighted = row * shares[token, place, None]
        output.index_add_(0, token, weighted.to(tokens.dtype))
    return output


def _run(draw, forward, gate):
    """The gate of any values; experts with it, of numbers that are alike, as the largest error of few is chance: one
    token, few and many, some experts without any."""
    self = draw.module(num_experts=4, alpha=1.702, limit=draw.choice((1.75, 7.0)))
    outputs = [gate(self, draw.normal(61, 64, scale=2.0))]
    around = before_gate if draw.dtype is torch.float16 else gate  # where each step is rounded on both sides: the same
    self._apply_gate = lambda gate_up: around(self, gate_up)
    inputs, inner = torch.eye(64, dtype=draw.dtype), torch.eye(32, dtype=draw.dtype)  # picked unrounded
    self.gate_up_proj = inputs[:, draw.integers(0, 64, 4, 64)].transpose(0, 1).contiguous()
    self.down_proj = inner[:, draw.integers(0, 32, 4, 64)].transpose(0, 1).contiguous()
    self.gate_up_proj_bias, self.down_proj_bias = (draw.uniform(4, 64, low=0.1, high=0.3) for _ in range(2))
    for count in (1, 2, 509):
        tokens, shares = draw.uniform(count, 64, low=1.5, high=1.9), draw.uniform(count, 2, low=0.45, high=0.55)
        order = draw.uniform(count, draw.choice((2, 3, 4))).argsort(-1)
        outputs.append(forward(self, tokens, order[:, :2], shares))
    return outputs[0], torch.cat(outputs[1:])


def proof_before(draw):
    return _run(draw, before_forward, before_gate)


def proof_after(draw):
    return _run(draw, after_forward, after_gate)

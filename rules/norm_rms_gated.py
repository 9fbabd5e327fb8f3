"""RMSNorm whose result a gate is multiplied with -> npu_rms_norm, and the gate as it is

Why:      six small kernels become one, and the gate stays.
Numerics: the op gets fp32, so that the gate's product is rounded once: exact where the source is fp32 up to the end;
          where it rounds the normed value and its product with the weight before the gate, closer to fp32. (An op in 16
          bits would round before the gate as well: not within the error rule.)
Contract: torch_npu.npu_rms_norm: x and gamma of one dtype, or gamma fp32; gamma covers the last dimension.
"""

import torch
from transformers.activations import ACT2FN

from porter.npu import torch_npu
from porter.rule import Edit, Rule
from rules.shared.rms_norm import after_init, before_init

rule = Rule(
    edits=(
        Edit("forward", site="norm.forward", unit="function", answers=("norm",)),
        Edit("init", site="norm.__init__", unit="statements"),
    ),
    attributes=("epsilon", "activation"),
)


def before_forward(self, x, gate):
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.epsilon)
    x = self.weight * x.to(dtype)
    x = x * ACT2FN[self.activation](gate.to(torch.float32))
    return x.to(dtype)


def before_forward__wide(self, x, gate):
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.epsilon)
    x = self.weight.to(torch.float32) * x
    x = x * ACT2FN[self.activation](gate.to(torch.float32))
    return x.to(dtype)


def after_forward(self, x, gate):
    normed = torch_npu.npu_rms_norm(
        x.to(torch.float32), self.weight.to(torch.float32), self.epsilon
    )[0]
    return (normed * ACT2FN[self.activation](gate.to(torch.float32))).to(x.dtype)


def not_forward_gated_before(self, x, gate):
    """What is normed is the gated value."""
    dtype = x.dtype
    x = x.to(torch.float32)
    x = x * ACT2FN[self.activation](gate.to(torch.float32))
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.epsilon)
    return self.weight * x.to(dtype)


def not_forward_by_groups(self, x, gate):
    """Each group of channels has a norm of its own."""
    dtype = x.dtype
    x = x.to(torch.float32)
    groups = x.view(*x.shape[:-1], -1, self.group_size)
    variance = groups.pow(2).mean(-1, keepdim=True)
    x = (groups * torch.rsqrt(variance + self.epsilon)).view(x.shape)
    x = self.weight * x.to(dtype)
    x = x * ACT2FN[self.activation](gate.to(torch.float32))
    return x.to(dtype)


def _norm(draw, init):
    self = draw.module(epsilon=1e-6, activation=draw.choice(("silu", "sigmoid")))
    init(self, 64)
    self.weight = draw.normal(*self.weight.shape)
    return self


def proof_before(draw):
    norm, x, gate = _norm(draw, before_init), draw.normal(2, 7, 64), draw.normal(2, 7, 64)
    return before_forward(norm, x, gate), before_forward__wide(norm, x, gate)


def proof_after(draw):
    norm, x, gate = _norm(draw, after_init), draw.normal(2, 7, 64), draw.normal(2, 7, 64)
    return after_forward(norm, x, gate), after_forward(norm, x, gate)

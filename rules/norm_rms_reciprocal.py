"""The reciprocal root mean square, alone or times the input, rounded on its own -> npu_rms_norm with ones

Why:      six small kernels become two, or three where the reciprocal itself is wanted: the op returns it beside.
Numerics: the reciprocal alone is exact: the op's is fp32, and rounded once. Times the input, the source rounds the
          reciprocal and then the product, the kernel the product only: closer to fp32.
Contract: torch_npu.npu_rms_norm: x and gamma of one dtype; gamma covers the last dimension. The second result is the
          reciprocal, fp32, with a last dimension of 1.
"""

import torch

from porter.npu import torch_npu
from porter.rule import Edit, Rule

rule = Rule(edits=(Edit(site="norm.forward", unit="function", answers=("norm",)),), attributes=("epsilon",))


def before(self, x):
    return x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self.epsilon).to(x.dtype)


def after(self, x):
    return torch_npu.npu_rms_norm(x, x.new_ones(x.shape[-1]), self.epsilon)[0]


def before__alone(self, x):
    return torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self.epsilon).to(x.dtype)


def after__alone(self, x):
    return torch_npu.npu_rms_norm(x, x.new_ones(x.shape[-1]), self.epsilon)[1].to(x.dtype)


def not_kept_in_fp32(self, x):
    """A reciprocal in fp32 makes the product fp32."""
    return x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self.epsilon)


def not_over_another_dimension(self, x):
    """The kernel norms the last dimension."""
    return x * torch.rsqrt(x.float().square().mean(1, keepdim=True) + self.epsilon).to(x.dtype)


def not_squared_in_its_own_dtype(self, x):
    """Squares of 16 bits may overflow there, where the kernel's do not."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon).to(x.dtype)


def proof(draw):
    return dict(self=draw.module(epsilon=1e-6), x=draw.normal(2, 7, 64))

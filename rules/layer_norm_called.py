"""F.layer_norm with `weight + 1` -> as it is: one op, one kernel

Why:      there is nothing to write: `native_layer_norm` lowers to one kernel.
Numerics: the source's own: `weight + 1.0` is rounded to the weight's dtype there, and folding it away would not be.
Contract: the addition before it stays: of `npu_add_layer_norm` TorchAir has no converter.
"""

from torch.nn import functional as F
from transformers.utils.generic import maybe_autocast

from porter.rule import Edit, Rule

rule = Rule(
    edits=(Edit(site="norm.forward", unit="function", answers=("norm",)),),
    closes={"TorchAir has no converter for npu_add_layer_norm": ("sum", "last_sum")},
)


def before(self, x):
    """one op already: native_layer_norm"""
    device = x.device.type
    args = _cast_if_autocast_enabled(device, x, self.normalized_shape, self.weight + 1.0, self.bias, self.eps)
    with maybe_autocast(device_type=x.device.type, enabled=False):
        return F.layer_norm(*args)


def not_normed_twice(self, x):
    """Two norms are two kernels."""
    x = F.layer_norm(x, self.normalized_shape, self.weight + 1.0, self.bias, self.eps)
    return F.layer_norm(x, self.normalized_shape, self.weight + 1.0, self.bias, self.eps)

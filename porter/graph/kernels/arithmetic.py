"""Element by element. The two inputs of an operator broadcast, and are of one data type: GE casts nothing by itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from porter.graph.call import Kernel
from porter.graph.types import numbered


def _of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Kernel:
    def compute(x1: Tensor, x2: Tensor) -> Tensor:
        _same_type(x1, x2)
        return function(x1, x2)

    return Kernel(compute)


def _of_one(function: Callable[[Tensor], Tensor]) -> Kernel:
    def compute(x: Tensor) -> Tensor:
        return function(x)

    return Kernel(compute)


def _same_type(*tensors: Tensor) -> None:
    if len({tensor.dtype for tensor in tensors}) > 1:
        raise TypeError(f"inputs of {' and '.join(str(tensor.dtype) for tensor in tensors)} are not one data type")


def _divided(x1: Tensor, x2: Tensor) -> Tensor:
    if not x1.is_floating_point():
        raise TypeError(f"a quotient of {x1.dtype} is not computed here")
    return x1 / x2


def cast(x: Tensor, *, dst_type: int) -> Tensor:
    """Towards zero from floating point to integers."""
    return x.to(numbered(dst_type))


def exp(x: Tensor, *, base: float = -1.0, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """`base ** (scale * x + shift)`, base -1 being e."""
    power = _shifted(x, scale, shift)
    return power.exp() if base == -1.0 else torch.pow(base, power)


def log(x: Tensor, *, base: float = -1.0, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """Of `scale * x + shift` to that base, -1 being e."""
    natural = _shifted(x, scale, shift).log()
    return natural if base == -1.0 else natural / math.log(base)


def _shifted(x: Tensor, scale: float, shift: float) -> Tensor:
    return x if (scale, shift) == (1.0, 0.0) else scale * x + shift


def swish(x: Tensor, *, scale: float = 1.0) -> Tensor:
    return x * torch.sigmoid(scale * x)


def gelu(x: Tensor) -> Tensor:
    """`x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`, the form by tanh alone, as the operator's public page
    has it: TorchAir makes it of aten's gelu by erf too."""
    return torch.nn.functional.gelu(x, approximate="tanh")


def gelu_v2(x: Tensor, *, approximate: str = "none") -> Tensor:
    """By the error function, or by tanh."""
    return torch.ops.npu.npu_gelu(x, approximate=approximate)


def muls(x: Tensor, *, value: float) -> Tensor:
    return (x * value).to(x.dtype)


def adds(x: Tensor, *, value: float) -> Tensor:
    return (x + value).to(x.dtype)


def masked_fill(x: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    """`value` where mask is True."""
    _same_type(x, value)
    return torch.where(mask, value, x)


def select(condition: Tensor, x1: Tensor, x2: Tensor) -> Tensor:
    """x1 where condition is True."""
    _same_type(x1, x2)
    return torch.where(condition, x1, x2)


def select_v2(condition: Tensor, then: Tensor, else_: Tensor) -> Tensor:
    return select(condition, then, else_)


def clip_by_value(x: Tensor, clip_value_min: Tensor, clip_value_max: Tensor) -> Tensor:
    _same_type(x, clip_value_min, clip_value_max)
    return x.clamp(clip_value_min, clip_value_max)


KERNELS = {
    "Add": _of_two(torch.add),
    "Sub": _of_two(torch.sub),
    "Mul": _of_two(torch.mul),
    "RealDiv": _of_two(_divided),
    "FloorDiv": _of_two(torch.floor_divide),
    "FloorMod": _of_two(torch.remainder),
    "Pow": _of_two(torch.pow),
    "Maximum": _of_two(torch.maximum),
    "Minimum": _of_two(torch.minimum),
    "Greater": _of_two(torch.gt),
    "GreaterEqual": _of_two(torch.ge),
    "Less": _of_two(torch.lt),
    "LessEqual": _of_two(torch.le),
    "Equal": _of_two(torch.eq),
    "NotEqual": _of_two(torch.ne),
    "LogicalAnd": _of_two(torch.logical_and),
    "LogicalOr": _of_two(torch.logical_or),
    "LogicalNot": _of_one(torch.logical_not),
    "Neg": _of_one(torch.neg),
    "Abs": _of_one(torch.abs),
    "Cos": _of_one(torch.cos),
    "Sin": _of_one(torch.sin),
    "Expm1": _of_one(torch.expm1),
    "Floor": _of_one(torch.floor),
    "Sqrt": _of_one(torch.sqrt),
    "Rsqrt": _of_one(torch.rsqrt),
    "Tanh": _of_one(torch.tanh),
    "Sigmoid": _of_one(torch.sigmoid),
    "Log": Kernel(log),
    "Erf": _of_one(torch.erf),
    "Relu": _of_one(torch.relu),
    "Square": _of_one(torch.square),
    "Reciprocal": _of_one(torch.reciprocal),
    "Gelu": Kernel(gelu),
    "GeluV2": Kernel(gelu_v2),
    "Muls": Kernel(muls),
    "Adds": Kernel(adds),
    "Cast": Kernel(cast),
    "Exp": Kernel(exp),
    "Swish": Kernel(swish),
    "MaskedFill": Kernel(masked_fill),
    "Select": Kernel(select),
    "SelectV2": Kernel(select_v2),
    "ClipByValue": Kernel(clip_by_value),
    "ClipByValueV2": Kernel(clip_by_value),
}

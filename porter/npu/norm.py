"""Root mean square norms: what npu_rms_norm, npu_gemma_rms_norm and npu_add_rms_norm compute, and where they
round."""

import torch

from porter.npu.chip import A2, A3, ASCEND_310P, ASCEND_950, check_chip_dtype, current_chip
from porter.npu.contract import (
    HALF_OR_FLOAT,
    ContractError,
    check_dtype,
    check_not_empty,
    check_rank,
    check_same_dtype,
    same_sizes,
    shape,
    violated,
)
from porter.npu.once import once_a_signature
from porter.npu.registry import Op
from porter.npu.rounding import rounded, widened

_CHIPS_WITH_FLOAT_GAMMA = (A2, A3, ASCEND_950)
# What torch.nn.functional.rms_norm calls, in float32 inside; it returns rstd too, which that does not.
_fused_rms_norm = torch._fused_rms_norm


def npu_rms_norm(input: torch.Tensor, gamma: torch.Tensor, epsilon: float = 1e-6) -> tuple[torch.Tensor, torch.Tensor]:
    """`input / rms(input) * gamma` over the trailing dimensions that gamma has.

    input: 2 to 8 dimensions, float16, bfloat16 or float32. gamma: its trailing shape; its dtype, or float32 beside
    float16 and bfloat16. Returns (y like input, rstd float32 with ones for the normed dimensions). Rounds once: gamma
    is multiplied in float32 before the only cast. (On the device small float16 rows take a path that rounds before
    gamma too; that is not modelled.) Raises ContractError for what the torch_npu op documentation forbids; on 310P
    also bfloat16, a float32 gamma beside float16, and rows under 32 bytes.
    """
    _check("npu_rms_norm", input, gamma)
    return _norm(input, gamma, epsilon)


def npu_gemma_rms_norm(
    input: torch.Tensor, gamma: torch.Tensor, epsilon: float = 1e-6
) -> tuple[torch.Tensor, torch.Tensor]:
    """`input / rms(input) * (1 + gamma)`: the norm of models that store weight - 1. Everything else as npu_rms_norm.

    The sum 1 + gamma is float32, so it is exact where a bfloat16 `1 + weight` is not.
    """
    _check("npu_gemma_rms_norm", input, gamma)
    return _norm(input, 1.0 + widened(gamma), epsilon)


def npu_add_rms_norm(
    x1: torch.Tensor, x2: torch.Tensor, gamma: torch.Tensor, epsilon: float = 1e-6
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Residual sum and norm in one: returns (y, rstd float32, x = x1 + x2).

    x1, x2: one shape, 1 to 8 dimensions, not empty; gamma: the trailing shape. All of one dtype, float16, bfloat16 or
    float32: stricter than npu_rms_norm.
    On A2 and A3 it rounds three times, as Llama's eager code does: the sum, the normed value, the product with gamma.
    On Ascend950 the norm is taken of the unrounded sum and y is rounded once. 310P is taken to round as A2 does.
    Raises ContractError for what the torch_npu op documentation forbids; on 310P also bfloat16.
    """
    _check_add(x1, x2, gamma)
    dtype = x1.dtype
    if current_chip() == ASCEND_950:
        total = widened(x1) + widened(x2)
        normed, rstd = _norm(total, widened(gamma), epsilon)
        return rounded(normed, dtype), rstd, rounded(total, dtype).contiguous()
    total = (x1 + x2).contiguous()
    if dtype is torch.float32:
        return *_norm(total, gamma, epsilon), total
    normed, rstd = _fused_rms_norm(total.float(), gamma.shape, None, epsilon)
    return normed.to(dtype) * gamma, rstd, total


def npu_add_rms_norm_cast(
    x1: torch.Tensor, x2: torch.Tensor, gamma: torch.Tensor, epsilon: float = 1e-6
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """npu_add_rms_norm whose y is wanted in float32 too: returns (y widened to float32, y, rstd float32, x = x1 + x2).

    What TorchAir makes of npu_add_rms_norm and a cast behind it. Everything else as there, but float16 and bfloat16
    only. Raises ContractError for what the public operator's documentation forbids.
    """
    check_dtype("npu_add_rms_norm_cast", "x1", x1, HALF_OR_FLOAT[:2])
    y, rstd, x = npu_add_rms_norm(x1, x2, gamma, epsilon)
    return y.float(), y, rstd, x


def _norm(x: torch.Tensor, gamma: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Multiplied by gamma in float32, rounded to x's dtype once; and rstd, float32."""
    wide = x if gamma.dtype is x.dtype else widened(x)  # where the op has a kernel of its own it wants one dtype
    normed, rstd = _fused_rms_norm(wide.contiguous(), gamma.shape, gamma, epsilon)
    return rounded(normed, x.dtype), rstd


@once_a_signature
def _check(op: str, x: torch.Tensor, gamma: torch.Tensor) -> None:
    check_dtype(op, "input", x, HALF_OR_FLOAT)
    check_chip_dtype(op, "input", x)
    check_rank(op, "input", x, 2, 8)
    if gamma.dtype is not torch.float32 or current_chip() not in _CHIPS_WITH_FLOAT_GAMMA:
        check_same_dtype(op, "gamma", gamma, "input", x.dtype)
    _check_gamma(op, "input", x, gamma)
    if current_chip() == ASCEND_310P and violated(x.shape[-1] * x.element_size() >= 32):
        raise ContractError(op, "input", f"must have rows of 32 bytes or more on {ASCEND_310P}", shape(x))


@once_a_signature
def _check_add(x1: torch.Tensor, x2: torch.Tensor, gamma: torch.Tensor) -> None:
    op = "npu_add_rms_norm"
    check_dtype(op, "x1", x1, HALF_OR_FLOAT)
    check_chip_dtype(op, "x1", x1)
    check_rank(op, "x1", x1, 1, 8)
    check_not_empty(op, "x1", x1)
    check_same_dtype(op, "x2", x2, "x1", x1.dtype)
    check_same_dtype(op, "gamma", gamma, "x1", x1.dtype)
    if not same_sizes(x1.shape, x2.shape):
        raise ContractError(op, "x2", f"must have the shape of x1 {shape(x1)}", shape(x2))
    _check_gamma(op, "x1", x1, gamma)


def _check_gamma(op: str, argument: str, x: torch.Tensor, gamma: torch.Tensor) -> None:
    if not 1 <= gamma.dim() <= x.dim() or not same_sizes(x.shape[-gamma.dim() :], gamma.shape):
        raise ContractError(op, "gamma", f"must have the trailing shape of {argument} {shape(x)}", shape(gamma))


def _rstd_like(x: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    return x.new_empty([*x.shape[: x.dim() - gamma.dim()], *([1] * gamma.dim())], dtype=torch.float32)


def _fake_rms_norm(
    input: torch.Tensor, gamma: torch.Tensor, epsilon: float = 1e-6
) -> tuple[torch.Tensor, torch.Tensor]:
    _check("npu_rms_norm", input, gamma)
    return input.new_empty(input.shape), _rstd_like(input, gamma)


def _fake_gemma_rms_norm(
    input: torch.Tensor, gamma: torch.Tensor, epsilon: float = 1e-6
) -> tuple[torch.Tensor, torch.Tensor]:
    _check("npu_gemma_rms_norm", input, gamma)
    return input.new_empty(input.shape), _rstd_like(input, gamma)


def _fake_add_rms_norm(
    x1: torch.Tensor, x2: torch.Tensor, gamma: torch.Tensor, epsilon: float = 1e-6
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    _check_add(x1, x2, gamma)
    return x1.new_empty(x1.shape), _rstd_like(x1, gamma), x1.new_empty(x1.shape)


def _fake_add_rms_norm_cast(
    x1: torch.Tensor, x2: torch.Tensor, gamma: torch.Tensor, epsilon: float = 1e-6
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    check_dtype("npu_add_rms_norm_cast", "x1", x1, HALF_OR_FLOAT[:2])
    y, rstd, x = _fake_add_rms_norm(x1, x2, gamma, epsilon)
    return y.new_empty(y.shape, dtype=torch.float32), y, rstd, x


_EPSILON = "float epsilon=9.9999999999999995e-07"
OPS = (
    Op(f"npu_rms_norm(Tensor input, Tensor gamma, {_EPSILON}) -> (Tensor, Tensor)", npu_rms_norm, _fake_rms_norm),
    Op(
        f"npu_gemma_rms_norm(Tensor input, Tensor gamma, {_EPSILON}) -> (Tensor, Tensor)",
        npu_gemma_rms_norm,
        _fake_gemma_rms_norm,
    ),
    Op(
        f"npu_add_rms_norm(Tensor x1, Tensor x2, Tensor gamma, {_EPSILON}) -> (Tensor, Tensor, Tensor)",
        npu_add_rms_norm,
        _fake_add_rms_norm,
    ),
    Op(
        f"npu_add_rms_norm_cast(Tensor x1, Tensor x2, Tensor gamma, {_EPSILON}) -> (Tensor, Tensor, Tensor, Tensor)",
        npu_add_rms_norm_cast,
        _fake_add_rms_norm_cast,
    ),
)

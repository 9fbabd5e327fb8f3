"""The fused operators of a decoder: norms, rotary, attention, gated activations. Arithmetic and limits are those of
their op in `porter.npu`; what is read here is the node's own."""

from __future__ import annotations

from torch import Tensor

from porter.graph.call import Kernel, Tensors
from porter.graph.kernels.shapes import ints
from porter.npu.activation import npu_clipped_swiglu, npu_geglu, npu_swiglu
from porter.npu.attention import npu_fused_infer_attention_score
from porter.npu.norm import npu_add_rms_norm, npu_add_rms_norm_cast, npu_rms_norm
from porter.npu.rotary import npu_rotary_mul
from porter.npu.rotary_interleaved import npu_interleave_rope
from porter.npu.rounding import rounded, widened

_MODES = ("half", "interleave")
_WHOLE = 2147483647


def rms_norm(x: Tensor, gamma: Tensor, *, epsilon: float = 1e-6) -> tuple[Tensor, ...]:
    return npu_rms_norm(x, gamma, epsilon)


def add_rms_norm(x1: Tensor, x2: Tensor, gamma: Tensor, *, epsilon: float = 1e-6) -> tuple[Tensor, ...]:
    """y, rstd and the sum."""
    return npu_add_rms_norm(x1, x2, gamma, epsilon)


def add_rms_norm_cast(x1: Tensor, x2: Tensor, gamma: Tensor, *, epsilon: float = 1e-6) -> tuple[Tensor, ...]:
    """y in float32, y, rstd and the sum."""
    y1, y2, rstd, total = npu_add_rms_norm_cast(x1, x2, gamma, epsilon)
    return y1, y2, rstd, total


def layer_norm_v4(
    x: Tensor,
    normalized_shape: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    epsilon: float = 1e-5,
) -> tuple[Tensor, ...]:
    """y, mean and rstd, both float32, with ones for the normed dimensions."""
    sizes = ints(normalized_shape)
    wide, axes = widened(x), list(range(-len(sizes), 0))
    if list(x.shape[-len(sizes) :]) != sizes:
        raise ValueError(f"normalized_shape {sizes} is not the last of {tuple(x.shape)}")
    mean = wide.mean(axes, keepdim=True)
    rstd = ((wide - mean).square().mean(axes, keepdim=True) + epsilon).rsqrt()
    y = (wide - mean) * rstd
    y = y if gamma is None else y * widened(gamma)
    return rounded(y if beta is None else y + widened(beta), x.dtype), mean, rstd


def rotary_mul(x: Tensor, r1: Tensor, r2: Tensor) -> Tensor:
    """`x * r1 + (-second half, first half) * r2`: the operator has no mode, and nothing is cast."""
    _of_one_type(x, r1, r2)
    return npu_rotary_mul(x, r1, r2)


def rotary_position_embedding(
    x: Tensor, cos: Tensor, sin: Tensor, rotate: Tensor | None = None, *, mode: int = 0
) -> Tensor:
    """As RotaryMul in mode 0, neighbours turned in mode 1."""
    _of_one_type(x, cos, sin)
    if mode >= len(_MODES):
        raise ValueError(f"mode {mode} is not computed here")
    return npu_rotary_mul(x, cos, sin, _MODES[mode], rotate)


def interleave_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return npu_interleave_rope(x, cos, sin)


def _of_one_type(*tensors: Tensor) -> None:
    if len({tensor.dtype for tensor in tensors}) > 1:
        raise TypeError(f"{', '.join(str(tensor.dtype) for tensor in tensors)} are not one data type")


def fused_infer_attention_score(
    query: Tensor,
    key: Tensors,
    value: Tensors,
    pse_shift: Tensor | None = None,
    atten_mask: Tensor | None = None,
    actual_seq_lengths: Tensor | None = None,
    actual_seq_lengths_kv: Tensor | None = None,
    query_padding_size: Tensor | None = None,
    kv_padding_size: Tensor | None = None,
    query_rope: Tensor | None = None,
    key_rope: Tensor | None = None,
    *,
    num_heads: int,
    scale: float = 1.0,
    pre_tokens: int = _WHOLE,
    next_tokens: int = _WHOLE,
    input_layout: str = "BSH",
    num_key_value_heads: int = 0,
    sparse_mode: int = 0,
    inner_precise: int = 0,
    softmax_lse_flag: bool = False,
) -> tuple[Tensor, Tensor]:
    """One tensor each of keys and values; an atten_mask of 1 is not computed. Lengths come as tensors."""
    (keys,), (values,) = key, value
    fed = {
        "pse_shift": pse_shift,
        "actual_seq_lengths": None if actual_seq_lengths is None else ints(actual_seq_lengths),
        "query_padding_size": query_padding_size,
        "kv_padding_size": kv_padding_size,
        "query_rope": query_rope,
        "key_rope": key_rope,
    }
    said = {"pre_tokens": pre_tokens, "next_tokens": next_tokens, "sparse_mode": sparse_mode}
    return npu_fused_infer_attention_score(
        query,
        keys,
        values,
        atten_mask=atten_mask,
        actual_seq_lengths_kv=None if actual_seq_lengths_kv is None else ints(actual_seq_lengths_kv),
        num_heads=num_heads,
        num_key_value_heads=num_key_value_heads,
        scale=scale,
        input_layout=input_layout,
        inner_precise=inner_precise,
        softmax_lse_flag=softmax_lse_flag,
        **fed,
        **said,
    )


def swi_glu(x: Tensor, *, dim: int = -1) -> Tensor:
    return npu_swiglu(x, dim)


def ge_glu_v2(x: Tensor, *, dim: int = -1, approximate: int = 1, activate_left: bool = False) -> tuple[Tensor, Tensor]:
    return npu_geglu(x, dim, approximate, activate_left)


def clipped_swiglu(
    x: Tensor,
    group_index: Tensor | None = None,
    *,
    dim: int = -1,
    alpha: float = 1.702,
    limit: float = 7.0,
    bias: float = 1.0,
    interleaved: bool = True,
) -> Tensor:
    return npu_clipped_swiglu(
        x, group_index=group_index, dim=dim, alpha=alpha, limit=limit, bias=bias, interleaved=interleaved
    )


_PLAIN = ("block_size", "antiquant_mode", "key_antiquant_mode", "value_antiquant_mode", "query_quant_mode")
KERNELS = {
    "RmsNorm": Kernel(rms_norm),
    "AddRmsNorm": Kernel(add_rms_norm),
    "AddRmsNormCast": Kernel(add_rms_norm_cast),
    "LayerNormV4": Kernel(layer_norm_v4),
    "RotaryMul": Kernel(rotary_mul),
    "RotaryPositionEmbedding": Kernel(rotary_position_embedding),
    "InterleaveRope": Kernel(interleave_rope),
    "FusedInferAttentionScore": Kernel(
        fused_infer_attention_score, dict.fromkeys((*_PLAIN, "pse_type", "out_dtype"), 0)
    ),
    "SwiGlu": Kernel(swi_glu),
    "GeGluV2": Kernel(ge_glu_v2),
    "ClippedSwiglu": Kernel(clipped_swiglu),
}

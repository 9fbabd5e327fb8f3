"""Rotary position embedding: npu_rotary_mul out of place, npu_apply_rotary_pos_emb in place."""

import torch

from porter.npu.chip import ASCEND_310P, ASCEND_950, check_chip_dtype, current_chip
from porter.npu.contract import (
    HALF_OR_FLOAT,
    ContractError,
    Size,
    check_dtype,
    check_not_empty,
    check_rank,
    check_same_dtype,
    same_sizes,
    shape,
    violated,
)
from porter.npu.direct import TENSORS
from porter.npu.once import once_a_signature
from porter.npu.registry import Op
from porter.npu.rounding import rounded, widened

# Per layout of x: where B and N are, and which of its leading dimensions cos and sin have (the others are 1).
_LAYOUTS = {
    "BNSD": ((0, 1), ((0, 0, 1), (1, 0, 1), (1, 1, 1))),
    "BSND": ((0, 2), ((0, 1, 0), (1, 1, 0), (1, 1, 1))),
    "SBND": ((1, 2), ((1, 0, 0), (1, 1, 0), (1, 1, 1))),
    "TND": ((1,), ((1, 0), (1, 1))),
}


def npu_rotary_mul(
    input: torch.Tensor,
    r1: torch.Tensor,
    r2: torch.Tensor,
    rotary_mode: str = "half",
    rotate: torch.Tensor | None = None,
) -> torch.Tensor:
    """`input * r1 + rotated(input) * r2`, r1 the cosines and r2 the sines; out of place.

    input: BNSD, BSND, SBND or TND; float16, bfloat16 or float32. r1 and r2: its dtype, or another of the three, and
    then **cast to it first**, as op-plugin does in eager mode on A2, A3 and Ascend950 (TorchAir hands them on as they
    are: cast them yourself for a graph). D even and under 896, B and N under 1000. Mode "half" rotates (x1, x2) to
    (-x2, x1) by halves and takes r1 and r2 as 11SD, B1SD, BNSD; 1S1D, BS1D, BSND; S11D, SB1D, SBND; T1D, TND. Mode
    "interleave" rotates neighbours, takes 11SD, 1S1D, S11D, T1D, and wants B * N under 1000; **in a TorchAir graph for
    A2 or A3 it is "half" without `rotate`**. rotate: a (D, D) matrix, `input @ rotate` in place of either rotation,
    whose mode then limits the form of r1 and r2 alone; A2 and A3, 4-D, and one dtype for all four tensors.
    Computed in float32 and rounded once, as the operator's public reference does; not seen on a device. Raises
    ContractError for what the torch_npu op documentation forbids; on 310P also bfloat16, "interleave", and D over 128
    or not a multiple of 32; Ascend950 takes D up to 1024.
    """
    _check_mul(input, r1, r2, rotary_mode, rotate)
    x, cos, sin = widened(input), widened(_cast(r1, input)), widened(_cast(r2, input))
    rotated = x @ widened(rotate) if rotate is not None else _rotated(x, rotary_mode)
    return rounded(rotated * sin + x * cos, input.dtype).contiguous()


def _plain_rotary_mul(
    input: torch.Tensor,
    r1: torch.Tensor,
    r2: torch.Tensor,
    rotary_mode: str = "half",
    rotate: torch.Tensor | None = None,
) -> torch.Tensor:
    """In memory of its own: for a long prompt fresh memory costs as much as the arithmetic."""
    if type(r1) not in TENSORS or type(r2) not in TENSORS or rotate is not None:
        return npu_rotary_mul(input, r1, r2, rotary_mode, rotate)
    _check_mul(input, r1, r2, rotary_mode, rotate)
    x, cos, sin = widened(input), widened(_cast(r1, input)), widened(_cast(r2, input))
    rotated = _rotated(x, rotary_mode)
    scaled = x * cos if x is input else x.mul_(cos)
    return rounded(rotated.mul_(sin).add_(scaled), input.dtype).contiguous()


def npu_apply_rotary_pos_emb(
    query: torch.Tensor,
    key: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    layout: str = "BSND",
    rotary_mode: str = "half",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotates query and key **in place** and returns them: the schema has no alias mark, the device writes all the
    same.

    So views of a fused projection change the projection's memory, and a graph, which reads the schema, takes the op
    for a pure one: use only what it returns, and neither input afterwards. layout "BSND" ("BSH" is the same code on
    the device): (B, S, N, D), cos and sin (B, S, 1, D); "TND": (T, N, D), cos and sin (T, 1, D). D 64 or 128, mode
    "half", one dtype (float16, bfloat16, float32), nothing empty. Ascend950: also "SBND", "BNSD", mode "interleave",
    D up to 1024 (not computed here: mode "quarter", D of cos under D of query). Float32 inside, one rounding. Raises
    ContractError for what the torch_npu op documentation forbids; on 310P also bfloat16.
    """
    _check_apply(query, key, cos, sin, layout, rotary_mode)
    cos, sin = widened(cos), widened(sin)
    for tensor in (query, key):
        x = widened(tensor)
        tensor.copy_(_rotated(x, rotary_mode) * sin + x * cos)
    return query, key


def _cast(table: torch.Tensor, input: torch.Tensor) -> torch.Tensor:
    return table if table.dtype is input.dtype else table.to(input.dtype)


def _rotated(x: torch.Tensor, mode: str) -> torch.Tensor:
    """A tensor of its own."""
    if mode == "half":
        first, second = x.chunk(2, -1)
        return torch.cat((-second, first), -1)
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack((-odd, even), -1).flatten(-2)


@once_a_signature
def _check_mul(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mode: str, rotate: torch.Tensor | None) -> None:
    op = "npu_rotary_mul"
    check_dtype(op, "input", x, HALF_OR_FLOAT)
    check_chip_dtype(op, "input", x)
    check_rank(op, "input", x, 3, 4)
    for name, table in (("r1", cos), ("r2", sin)):
        check_dtype(op, name, table, HALF_OR_FLOAT)
        if current_chip() == ASCEND_310P:
            check_same_dtype(op, name, table, "input", x.dtype)
    if mode not in (("half",) if current_chip() == ASCEND_310P else ("half", "interleave")):
        raise ContractError(op, "rotary_mode", "must be 'half' or 'interleave', 'half' on 310P", repr(mode))
    _check_head_dim(op, x)
    if not same_sizes(cos.shape, sin.shape):
        raise ContractError(op, "r2", f"must have the shape of r1 {shape(cos)}", shape(sin))
    _check_table_shape(op, x, cos, mode)
    if rotate is None:
        return
    if current_chip() in (ASCEND_950, ASCEND_310P):
        raise ContractError(op, "rotate", f"is not supported on {current_chip()}", shape(rotate))
    if x.dim() != 4:
        raise ContractError(op, "input", "must have 4 dimensions where there is a rotate", f"{x.dim()} {shape(x)}")
    for name, tensor in (("r1", cos), ("r2", sin), ("rotate", rotate)):
        check_same_dtype(op, name, tensor, "input", x.dtype)
    if not same_sizes(rotate.shape, (x.shape[-1], x.shape[-1])):
        raise ContractError(op, "rotate", f"must be (D, D) with D of input {shape(x)}", shape(rotate))


def _check_head_dim(op: str, x: torch.Tensor) -> None:
    size = x.shape[-1]
    if current_chip() == ASCEND_310P:
        if violated(size <= 128) or violated(size % 32 == 0):
            raise ContractError(op, "input", "must have D <= 128, a multiple of 32, on Ascend310P", f"D={size}")
        return
    most = 1024 if current_chip() == ASCEND_950 else 895
    if violated(size <= most) or violated(size % 2 == 0):
        raise ContractError(op, "input", f"must have an even D < {most + 1}", f"D={size}")


def _check_table_shape(op: str, x: torch.Tensor, cos: torch.Tensor, mode: str) -> None:
    layouts = [name for name in _LAYOUTS if len(name) == x.dim()]
    fitting = [name for name in layouts if _table_fits(name, x, cos, mode)]
    if not fitting:
        forms = "T1D, TND" if x.dim() == 3 else "11SD, B1SD, BNSD; 1S1D, BS1D, BSND; S11D, SB1D, SBND"
        if mode == "interleave":
            forms = "T1D" if x.dim() == 3 else "11SD; 1S1D; S11D"
        raise ContractError(op, "r1", f"must be {forms} for an input of {shape(x)} in mode {mode!r}", shape(cos))
    if not any(_few_rows(name, x, mode) for name in fitting):
        limit = "B * N < 1000" if mode == "interleave" else "B < 1000 and N < 1000"
        raise ContractError(op, "input", f"must have {limit} ({' or '.join(fitting)})", shape(x))


def _table_fits(layout: str, x: torch.Tensor, cos: torch.Tensor, mode: str) -> bool:
    _, forms = _LAYOUTS[layout]
    for form in forms[:1] if mode == "interleave" else forms:
        wanted: list[Size] = [size if full else 1 for size, full in zip(x.shape[:-1], form, strict=True)]
        if same_sizes(cos.shape, [*wanted, x.shape[-1]]):
            return True
    return False


def _few_rows(layout: str, x: torch.Tensor, mode: str) -> bool:
    sizes = [x.shape[axis] for axis in _LAYOUTS[layout][0]]
    if mode == "interleave":
        return not violated((sizes[0] * sizes[1] if len(sizes) == 2 else sizes[0]) < 1000)
    return not any(violated(size < 1000) for size in sizes)


@once_a_signature
def _check_apply(
    query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, layout: str, mode: str
) -> None:
    op = "npu_apply_rotary_pos_emb"
    newest = current_chip() == ASCEND_950
    layouts = ("BSND", "BSH", "TND", "SBND", "BNSD") if newest else ("BSND", "BSH", "TND")
    if layout not in layouts:
        raise ContractError(op, "layout", f"must be one of {', '.join(layouts)} on {current_chip()}", repr(layout))
    modes = ("half", "interleave") if newest else ("half",)
    if mode not in modes:
        raise ContractError(op, "rotary_mode", f"must be one of {', '.join(modes)} on {current_chip()}", repr(mode))
    rank = 3 if layout == "TND" else 4
    check_dtype(op, "query", query, HALF_OR_FLOAT)
    check_chip_dtype(op, "query", query)
    for name, tensor in (("query", query), ("key", key), ("cos", cos), ("sin", sin)):
        check_rank(op, name, tensor, rank, rank)
        check_same_dtype(op, name, tensor, "query", query.dtype)
        check_not_empty(op, name, tensor)
    size = query.shape[-1]
    if newest and (violated(size <= 1024) or violated(size % 2 == 0)):
        raise ContractError(op, "query", "must have an even D <= 1024", f"D={size}")
    if not newest and size not in (64, 128):
        raise ContractError(op, "query", f"must have D 64 or 128 on {current_chip()}", f"D={size}")
    heads = 1 if layout in ("TND", "BNSD") else 2
    one_head = [1 if axis == heads else length for axis, length in enumerate(query.shape)]
    any_heads = [key.shape[heads] if axis == heads else length for axis, length in enumerate(query.shape)]
    if not same_sizes(key.shape, any_heads):
        raise ContractError(op, "key", f"must have the shape of query {shape(query)} but for N", shape(key))
    for name, table in (("cos", cos), ("sin", sin)):
        if not same_sizes(table.shape, one_head):
            raise ContractError(op, name, f"must have the shape of query {shape(query)} with N = 1", shape(table))


def _fake_rotary_mul(
    input: torch.Tensor,
    r1: torch.Tensor,
    r2: torch.Tensor,
    rotary_mode: str = "half",
    rotate: torch.Tensor | None = None,
) -> torch.Tensor:
    _check_mul(input, r1, r2, rotary_mode, rotate)
    return input.new_empty(input.shape)


def _fake_apply_rotary_pos_emb(
    query: torch.Tensor,
    key: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    layout: str = "BSND",
    rotary_mode: str = "half",
) -> tuple[torch.Tensor, torch.Tensor]:
    _check_apply(query, key, cos, sin, layout, rotary_mode)
    # A graph is promised what the schema promises, new tensors; strides are the inputs', whose memory they turn out
    # to be.
    return torch.empty_like(query), torch.empty_like(key)


OPS = (
    Op(
        'npu_rotary_mul(Tensor input, Tensor r1, Tensor r2, str rotary_mode="half", Tensor? rotate=None) -> Tensor',
        npu_rotary_mul,
        _fake_rotary_mul,
        _plain_rotary_mul,
    ),
    Op(
        "npu_apply_rotary_pos_emb(Tensor query, Tensor key, Tensor cos, Tensor sin, "
        'str layout="BSND", str rotary_mode="half") -> (Tensor, Tensor)',
        npu_apply_rotary_pos_emb,
        _fake_apply_rotary_pos_emb,
    ),
)

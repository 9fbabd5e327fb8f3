"""Matrix products: of two matrices, of stacks of them, and of rows in groups with a matrix each."""

from __future__ import annotations

from torch import Tensor

from porter.graph.call import Kernel, Tensors
from porter.npu.grouped_matmul import npu_grouped_matmul


def mat_mul(
    x1: Tensor, x2: Tensor, bias: Tensor | None = None, *, transpose_x1: bool = False, transpose_x2: bool = False
) -> Tensor:
    """Two matrices of one data type."""
    if x1.dim() != 2 or x2.dim() != 2:
        raise ValueError(f"{tuple(x1.shape)} and {tuple(x2.shape)} are not two matrices")
    return _product(x1, x2, bias, transpose_x1, transpose_x2)


def batch_mat_mul(
    x1: Tensor, x2: Tensor, bias: Tensor | None = None, *, adj_x1: bool = False, adj_x2: bool = False
) -> Tensor:
    """Stacks of matrices; what stands before the last two axes broadcasts."""
    return _product(x1, x2, bias, adj_x1, adj_x2)


def _product(x1: Tensor, x2: Tensor, bias: Tensor | None, turn_x1: bool, turn_x2: bool) -> Tensor:
    left, right = x1.mT if turn_x1 else x1, x2.mT if turn_x2 else x2
    made = left @ right
    return made if bias is None else made + bias


def grouped_matmul(
    x: Tensors,
    weight: Tensors,
    bias: Tensors,
    scale: Tensors,
    offset: Tensors,
    antiquant_scale: Tensors,
    antiquant_offset: Tensors,
    group_list: Tensor | None = None,
    *,
    split_item: int = 0,
    group_type: int = -1,
    group_list_type: int = 0,
    transpose_weight: bool = False,
    dtype: int = 0,
) -> Tensors:
    """Rows of x in groups, each times its matrix of weight. A list of one empty tensor is a list that was left out;
    `dtype` is for quantized products."""
    quantized = (scale, offset, antiquant_scale, antiquant_offset)
    if any(tensor.numel() for tensors in quantized for tensor in tensors):
        raise ValueError("quantized products are not computed here")
    return npu_grouped_matmul(
        x,
        [matrix.mT for matrix in weight] if transpose_weight else weight,
        bias=[tensor for tensor in bias if tensor.numel()] or None,
        group_list=group_list,
        split_item=split_item,
        group_type=group_type,
        group_list_type=group_list_type,
    )


KERNELS = {
    "MatMul": Kernel(mat_mul),
    "MatMulV2": Kernel(mat_mul, {"offset_x": 0}),
    "BatchMatMul": Kernel(batch_mat_mul),
    "BatchMatMulV2": Kernel(batch_mat_mul, {"offset_x": 0}),
    "GroupedMatmul": Kernel(grouped_matmul, {"transpose_x": False, "act_type": 0, "tuning_config": [0]}),
}

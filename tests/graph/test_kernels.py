"""Each GE kernel against a formula of its operator's definition, written apart from the kernel: in float64, by loops or
by another way to the same numbers."""

import math

import pytest
import torch

from porter.graph.call import compute
from porter.graph.kernels import KERNELS
from porter.graph.values import Described, Node

A = torch.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])
B = torch.tensor([[2.0, 2.0, -1.0], [0.5, 0.25, 3.0]])
COUNT = torch.arange(24.0).reshape(2, 3, 4)
YES = torch.tensor([[True, False, True], [False, False, True]])


def ints(*values, dtype=torch.int64):
    return torch.tensor(values, dtype=dtype)


def scalar(value, dtype=torch.int64):
    return torch.tensor(value, dtype=dtype)


def call(kind, inputs, attributes=None, outputs=None):
    """What a node of that type gives for inputs {name: tensor}; a list is an input of several."""
    fed, tensors = [], {}
    for name, value in inputs.items():
        parts = (
            [(f"{name}{index}", each) for index, each in enumerate(value)]
            if isinstance(value, list)
            else [(name, value)]
        )
        for part, tensor in parts:
            fed.append((part, f"{part}:0"))
            tensors[f"{part}:0"] = tensor
    expected = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    names = {torch.float32: "DT_FLOAT", torch.int64: "DT_INT64", torch.int32: "DT_INT32", torch.bool: "DT_BOOL"}
    described = tuple(Described("y", names.get(each.dtype, "DT_UNDEFINED")) for each in expected)
    return compute(Node("n", kind, tuple(fed), attributes or {}, described), KERNELS[kind], tensors)


def by_element(function, *tensors):
    """The function of Python's numbers, of tensors that broadcast."""
    tensors = torch.broadcast_tensors(*tensors)
    values = [function(*each) for each in zip(*(tensor.flatten().tolist() for tensor in tensors), strict=True)]
    return torch.tensor(values).reshape(tensors[0].shape)


TWO = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "RealDiv": lambda a, b: a / b,
    "FloorDiv": lambda a, b: float(a // b),
    "FloorMod": lambda a, b: a % b,
    "Maximum": max,
    "Minimum": min,
    "Greater": lambda a, b: a > b,
    "GreaterEqual": lambda a, b: a >= b,
    "Less": lambda a, b: a < b,
    "LessEqual": lambda a, b: a <= b,
    "Equal": lambda a, b: a == b,
    "NotEqual": lambda a, b: a != b,
}
ONE = {
    "Neg": lambda a: -a,
    "Abs": abs,
    "Cos": math.cos,
    "Sin": math.sin,
    "Tanh": math.tanh,
    "Exp": math.exp,
    "Erf": math.erf,
    "Expm1": math.expm1,
    "Floor": lambda a: float(math.floor(a)),
    "Relu": lambda a: max(a, 0.0),
    "Square": lambda a: a * a,
    "Reciprocal": lambda a: 1 / a,
    "Gelu": lambda a: a / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))),
    "GeluV2": lambda a: a / 2 * math.erfc(-a / math.sqrt(2)),
    "Sigmoid": lambda a: 1 / (1 + math.exp(-a)),
    "Swish": lambda a: a / (1 + math.exp(-a)),
}
POSITIVE = {"Sqrt": math.sqrt, "Rsqrt": lambda a: a**-0.5, "Log": math.log}

# type, inputs, attributes, what comes out
TABLE = [
    *((kind, {"x1": A, "x2": B}, {}, by_element(f, A, B)) for kind, f in TWO.items()),
    ("Add", {"x1": A, "x2": B[:1]}, {}, by_element(lambda a, b: a + b, A, B[:1])),
    ("Pow", {"x1": A, "x2": torch.full((1,), 2.0)}, {}, by_element(lambda a: a**2, A)),
    *((kind, {"x": A}, {}, by_element(f, A)) for kind, f in ONE.items()),
    *((kind, {"x": A.abs()}, {}, by_element(f, A.abs())) for kind, f in POSITIVE.items()),
    ("GeluV2", {"x": A}, {"approximate": "tanh"}, by_element(ONE["Gelu"], A)),
    ("Muls", {"x": A}, {"value": 2.5}, by_element(lambda a: a * 2.5, A)),
    ("Adds", {"x": A}, {"value": 2.5}, by_element(lambda a: a + 2.5, A)),
    ("Unpack", {"x": A}, {"num": 2, "axis": 0}, [A[0], A[1]]),
    (
        "IndexByTensor",
        {"x": COUNT, "indices": [ints(1, 0), ints(3, 2)]},
        {"indices_mask": [1, 0, 1]},
        torch.tensor([[15.0, 19.0, 23.0], [2.0, 6.0, 10.0]]),
    ),
    ("Exp", {"x": A}, {"base": 2.0, "scale": 3.0, "shift": 1.0}, by_element(lambda a: 2 ** (3 * a + 1), A)),
    ("Log", {"x": B**2}, {"base": 2.0, "scale": 3.0, "shift": 1.0}, by_element(lambda a: math.log2(3 * a * a + 1), B)),
    ("Log", {"x": B.abs()}, {"base": -1.0, "scale": 1.0, "shift": 0.0}, by_element(math.log, B.abs())),
    ("Swish", {"x": A}, {"scale": 2.0}, by_element(lambda a: a / (1 + math.exp(-2 * a)), A)),
    ("LogicalAnd", {"x1": YES, "x2": YES[:1]}, {}, by_element(lambda a, b: a and b, YES, YES[:1])),
    ("LogicalOr", {"x1": YES, "x2": YES[:1]}, {}, by_element(lambda a, b: a or b, YES, YES[:1])),
    ("LogicalNot", {"x": YES}, {}, by_element(lambda a: not a, YES)),
    ("Cast", {"x": torch.tensor([-1.9, 0.0, 2.9])}, {"dst_type": 9}, ints(-1, 0, 2)),
    ("Cast", {"x": ints(0, 2)}, {"dst_type": 12}, torch.tensor([False, True])),
    (
        "MaskedFill",
        {"x": A, "mask": YES, "value": scalar(7.0, torch.float32)},
        {},
        by_element(lambda a, yes: 7.0 if yes else a, A, YES),
    ),
    ("Select", {"condition": YES, "x1": A, "x2": B}, {}, by_element(lambda y, a, b: a if y else b, YES, A, B)),
    ("SelectV2", {"condition": YES, "then": A, "else": B}, {}, by_element(lambda y, a, b: a if y else b, YES, A, B)),
    *(
        (
            kind,
            {"x": A, "clip_value_min": scalar(-1.0, torch.float32), "clip_value_max": scalar(2.0, torch.float32)},
            {},
            by_element(lambda a: min(max(a, -1.0), 2.0), A),
        )
        for kind in ("ClipByValue", "ClipByValueV2")
    ),
    ("Reshape", {"x": COUNT, "shape": ints(4, -1)}, {"axis": 0, "num_axes": -1}, torch.arange(24.0).view(4, 6)),
    ("Unsqueeze", {"x": ints(5, 6)}, {"axes": [0, 2]}, torch.tensor([[[5], [6]]])),
    ("Unsqueeze", {"x": ints(5, 6)}, {"axes": [-1]}, torch.tensor([[5], [6]])),
    ("Squeeze", {"x": torch.tensor([[[5], [6]]])}, {"axis": [0]}, torch.tensor([[5], [6]])),
    ("Squeeze", {"x": torch.tensor([[[5], [6]]])}, {}, ints(5, 6)),
    ("ExpandDims", {"x": ints(5, 6), "axis": scalar(1)}, {}, torch.tensor([[5], [6]])),
    (
        "Transpose",
        {"x": COUNT, "perm": ints(2, 0, 1)},
        {},
        torch.tensor([[[COUNT[i, j, k].item() for j in range(3)] for i in range(2)] for k in range(4)]),
    ),
    (
        "SplitV",
        {"x": ints(0, 1, 2, 3), "size_splits": ints(1, 3), "split_dim": scalar(-1)},
        {"num_split": 2},
        [ints(0), ints(1, 2, 3)],
    ),
    (
        "SplitV",
        {"x": ints(0, 1, 2, 3), "size_splits": ints(-1, 1), "split_dim": scalar(0)},
        {"num_split": 2},
        [ints(0, 1, 2), ints(3)],
    ),
    ("Split", {"split_dim": scalar(0), "x": ints(0, 1, 2, 3)}, {"num_split": 2}, [ints(0, 1), ints(2, 3)]),
    ("SplitD", {"x": ints(0, 1, 2, 3)}, {"split_dim": 0, "num_split": 2}, [ints(0, 1), ints(2, 3)]),
    ("ConcatV2", {"x": [ints(1, 2), ints(3)], "concat_dim": scalar(0)}, {"N": 2}, ints(1, 2, 3)),
    *(
        (kind, {"x": [ints(1, 2), ints(3)]}, {"concat_dim": 0, "N": 2}, ints(1, 2, 3))
        for kind in ("ConcatD", "ConcatV2D")
    ),
    ("Pack", {"x": [ints(1, 2), ints(3, 4)]}, {"axis": 1, "N": 2}, torch.tensor([[1, 3], [2, 4]])),
    (
        "StridedSliceV2",
        {"x": torch.arange(10), "begin": scalar(-4), "end": scalar(99), "axes": ints(0), "strides": ints(2)},
        {"begin_mask": 0},
        ints(6, 8),
    ),
    (
        "StridedSliceV2",
        {"x": COUNT, "begin": ints(1), "end": ints(2), "axes": ints(1)},
        {},
        torch.tensor([[[4.0, 5, 6, 7]], [[16.0, 17, 18, 19]]]),
    ),
    (
        "StridedSlice",
        {"x": torch.arange(10), "begin": ints(3), "end": ints(5), "strides": ints(1)},
        {"end_mask": 1},
        ints(3, 4, 5, 6, 7, 8, 9),
    ),
    ("Slice", {"x": torch.arange(10), "offsets": ints(7), "size": ints(-1)}, {}, ints(7, 8, 9)),
    ("BroadcastTo", {"x": ints(1, 2), "shape": ints(2, 2)}, {}, torch.tensor([[1, 2], [1, 2]])),
    ("Expand", {"x": torch.tensor([[1], [2]]), "shape": ints(1, 3)}, {}, torch.tensor([[1, 1, 1], [2, 2, 2]])),
    ("Expand", {"x": ints(1, 2), "shape": ints(2, 1)}, {}, torch.tensor([[1, 2], [1, 2]])),
    ("Tile", {"x": ints(1, 2), "multiples": ints(3)}, {}, ints(1, 2, 1, 2, 1, 2)),
    ("Fill", {"dims": ints(2), "value": scalar(3)}, {}, ints(3, 3)),
    ("Range", {"start": scalar(1), "limit": scalar(8), "delta": scalar(3)}, {}, ints(1, 4, 7)),
    ("ZerosLike", {"x": ints(1, 2)}, {}, ints(0, 0)),
    ("OnesLike", {"x": ints(1, 2)}, {}, ints(1, 1)),
    ("Identity", {"x": A}, {}, A),
    ("TensorMove", {"x": A}, {}, A),
    ("Shape", {"x": COUNT}, {"dtype": 9}, ints(2, 3, 4)),
    (
        "PadV3",
        {"x": torch.tensor([[1, 2]]), "paddings": torch.tensor([[1, 0], [0, 2]])},
        {"mode": "constant"},
        torch.tensor([[0, 0, 0, 0], [1, 2, 0, 0]]),
    ),
    (
        "GatherV2",
        {"x": COUNT, "indices": torch.tensor([[2, 0]]), "axis": ints(1)},
        {"batch_dims": 0},
        torch.stack([torch.stack([torch.stack([COUNT[b, 2], COUNT[b, 0]])]) for b in range(2)]),
    ),
    ("GatherV2", {"x": COUNT[0, 0], "indices": scalar(2), "axis": scalar(0)}, {}, COUNT[0, 0, 2]),
    ("GatherV2", {"x": A, "indices": scalar(1), "axis": scalar(-1)}, {}, A[:, 1]),
    ("Gather", {"x": A, "indices": torch.tensor([[1], [0]])}, {"validate_indices": True}, torch.stack([A[1:], A[:1]])),
    ("Gather", {"x": A, "indices": scalar(1)}, {}, A[1]),
    ("ArgMaxWithValue", {"x": A}, {"dimension": 1}, [ints(2, 1, dtype=torch.int32), torch.tensor([3.0, 4.0])]),
    (
        "ArgMaxWithValue",
        {"x": torch.tensor([[2.0, 5.0], [2.0, 1.0]])},
        {"dimension": 0, "keep_dims": True},
        [torch.tensor([[0, 0]], dtype=torch.int32), torch.tensor([[2.0, 5.0]])],
    ),
    ("GatherElements", {"x": A, "index": torch.tensor([[2], [0]])}, {"dim": 1}, torch.tensor([[3.0], [0.5]])),
    (
        "Index",
        {"x": A, "indexed_sizes": ints(1, 1), "indexed_strides": ints(1, 1), "indices": [ints(0, 1), ints(2, 2)]},
        {},
        torch.tensor([3.0, -1.0]),
    ),
    (
        "ScatterElements",
        {"data": A, "indices": torch.tensor([[1], [0]]), "updates": torch.tensor([[9.0], [8.0]])},
        {"axis": 1, "reduction": "none"},
        torch.tensor([[1.0, 9.0, 3.0], [8.0, 4.0, -1.0]]),
    ),
    (
        "ScatterNdUpdate",
        {"var": A.clone(), "indices": torch.tensor([[1]]), "updates": torch.tensor([[7.0, 8, 9]])},
        {},
        torch.tensor([[1.0, -2.0, 3.0], [7.0, 8.0, 9.0]]),
    ),
    ("Assign", {"ref": A.clone(), "value": B}, {}, B),
    ("ReduceSum", {"x": A, "axes": ints(-1)}, {"keep_dims": True}, torch.tensor([[2.0], [3.5]])),
    ("ReduceSum", {"x": ints(1, 2, 3), "axes": ints(0)}, {}, scalar(6)),
    ("ReduceMean", {"x": A, "axes": ints(0)}, {}, torch.tensor([0.75, 1.0, 1.0])),
    ("ReduceMax", {"x": A, "axes": ints(1)}, {}, torch.tensor([3.0, 4.0])),
    ("ReduceAny", {"x": YES, "axes": ints(0)}, {}, torch.tensor([True, False, True])),
    ("ReduceAll", {"x": YES, "axes": ints(0)}, {}, torch.tensor([False, False, True])),
    ("Cumsum", {"x": ints(1, 2, 3), "axis": scalar(0)}, {"exclusive": False}, ints(1, 3, 6)),
    ("SoftmaxV2", {"x": A}, {"axes": [1]}, torch.stack([row.exp() / sum(row.exp().tolist()) for row in A.double()])),
    *(
        (
            kind,
            {"x": A, "k": scalar(2, torch.int32)},
            {"sorted": True},
            [torch.tensor([[3.0, 1.0], [4.0, 0.5]]), torch.tensor([[2, 0], [1, 0]], dtype=torch.int32)],
        )
        for kind in ("TopKV2", "TopK")
    ),
    ("ArgMaxV2", {"x": A, "dimension": scalar(-1)}, {"dtype": 9}, ints(2, 1)),
]


@pytest.mark.parametrize(("kind", "inputs", "attributes", "expected"), TABLE, ids=[entry[0] for entry in TABLE])
def test_by_definition(kind, inputs, attributes, expected):
    expected = expected if isinstance(expected, list) else [expected]
    declared = [each.float() if each.dtype is torch.float64 else each for each in expected]
    for made, wanted in zip(call(kind, inputs, attributes, declared), declared, strict=True):
        torch.testing.assert_close(made, wanted, rtol=2e-6, atol=1e-6)


def test_every_kernel_has_a_formula():
    from tests.graph import test_fused_kernels

    missing = KERNELS.keys() - {entry[0] for entry in TABLE} - test_fused_kernels.TESTED
    assert not missing


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes", "told"),
    [
        ("Add", {"x1": A, "x2": ints(1, 2, 3)}, {}, "are not one data type"),
        ("RealDiv", {"x1": ints(1), "x2": ints(2)}, {}, "a quotient of torch.int64"),
        ("GatherV2", {"x": A, "indices": ints(2), "axis": scalar(0)}, {}, "index out of range"),
        ("GatherV2", {"x": A, "indices": ints(0), "axis": scalar(0)}, {"batch_dims": 1}, "batch_dims 1"),
        ("SplitV", {"x": ints(0, 1), "size_splits": ints(1, 2), "split_dim": scalar(0)}, {"num_split": 2}, "split"),
        ("Squeeze", {"x": A}, {"axis": [0]}, "not all of size 1"),
        ("MatMul", {"x1": COUNT, "x2": A}, {}, "are not two matrices"),
        ("Cast", {"x": A}, {"dst_type": 16}, "data type 16"),
        (
            "Scatter",
            {"var": COUNT, "indices": ints(0, 0), "updates": COUNT[:, :1]},
            {"reduce": "add", "axis": 1},
            "add",
        ),
        ("Assign", {"ref": A, "value": B[:1]}, {}, "into"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_definition_forbids_is_refused(kind, inputs, attributes, told):
    from porter.graph.call import CannotCompute

    with pytest.raises(CannotCompute, match=f"`{kind}` refuses its inputs: .*{told}"):
        call(kind, inputs, attributes, A)

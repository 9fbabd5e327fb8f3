"""What TorchAir's converters of PyTorch's own ops leave unread, and that no port's graph hangs on it."""

import ast

import pytest

from porter.npu.on_npu import graph_decompositions
from tests.lowering.test_arrived import lowered
from tests.npu.test_conformance import BF16, call, t

# what says where and how a tensor lies, not which numbers are in it; and hints for training
LAYOUT = {"device", "layout", "pin_memory", "non_blocking", "memory_format", "out"}
NO_NUMBERS = {
    ("embedding.default", "padding_idx"),  # whose gradient is left out
    ("gather.default", "sparse_grad"),
    ("sum.dim_IntList", "dtype"),  # read off the output's own type, as the nodes below show
    ("sum.default", "dtype"),
    ("empty.memory_format", "dtype"),  # its output's own type is the right one, and there are no numbers in it
    ("_log_softmax.default", "half_to_float"),  # set for CUDA tensors only
    ("native_group_norm.default", "N"),  # sizes of the input, said again
    ("native_group_norm.default", "HxW"),
    ("upsample_nearest2d.default", "scales_h"),  # beside the output's size
    ("upsample_nearest2d.default", "scales_w"),
}
WIDE = {"dtype": "float32"}
MENDED = {("gelu.default", "approximate")}


def registered(function):
    """The aten op that a converter is registered for, as `op.overload`."""
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "register_fx_node_ge_converter":
            return ast.unparse(decorator.args[0]).removeprefix("torch.ops.aten.")
    return None


def unread(folder):
    found, read = set(), 0
    for file in sorted(folder.glob("*.py")):
        for function in ast.parse(file.read_text()).body:
            op = registered(function) if isinstance(function, ast.FunctionDef) else None
            if op is None or isinstance(function.body[-1], ast.Raise):
                continue
            read += 1
            names = {node.id for part in function.body for node in ast.walk(part) if isinstance(node, ast.Name)}
            arguments = [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]
            found |= {(op, name) for name in arguments if name not in names | LAYOUT | {"meta_outputs"}}
    return found, read


def test_arguments_that_converters_leave_unread_are_mended_or_hold_no_numbers(wheel):
    folder = wheel.package / "dynamo" / "torchair" / "_ge_concrete_graph" / "ge_converter" / "aten"
    found, read = unread(folder)
    assert read > 200
    inference = {(op, name) for op, name in found if "backward" not in op and not op.startswith("_fft")}
    assert inference == MENDED | NO_NUMBERS
    assert {str(op).removeprefix("aten.") for op in graph_decompositions()} == {op for op, _ in MENDED}


ASKED = {
    "gelu": (call("aten.gelu.default", t(2, 8)), ["GeluV2"]),
    "gelu by tanh": (call("aten.gelu.default", t(2, 8), approximate="tanh"), ["Gelu"]),
    "sum in fp32": (call("aten.sum.dim_IntList", t(2, 8, dtype=BF16), [-1], dtype=WIDE), ["Cast", "ReduceSum"]),
    "sum of all in fp32": (call("aten.sum.default", t(2, 8, dtype=BF16), dtype=WIDE), ["Cast", "ReduceSum"]),
    "sum": (call("aten.sum.dim_IntList", t(2, 8, dtype=BF16), [-1], True), ["ReduceSum"]),
}


@pytest.fixture(scope="module")
def made(wheel):
    return dict(zip(ASKED, lowered("Ascend910B3", [asked for asked, _ in ASKED.values()]), strict=True))


@pytest.mark.parametrize("name", ASKED)
def test_what_is_asked_for_is_what_the_nodes_say(made, name):
    assert "nodes" in made[name], made[name]
    assert [node for node in made[name]["nodes"] if node not in ("Data", "Const", "NetOutput")] == ASKED[name][1]

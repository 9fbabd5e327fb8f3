"""A node and a kernel: by name, and what has no place is refused. A graph: in order, and written in place."""

import base64

import pytest
import torch

from porter.graph.call import CannotCompute, Kernel, Tensors, compute
from porter.graph.run import run
from porter.graph.values import Described, Graph, Node, graph_of, in_order

X = torch.tensor([1.0, 2.0])
Y = (Described("y", "DT_FLOAT"),)


def scaled(x, others: "Tensors", else_=None, *, factor, shift=0.0):
    """A kernel with all that there is: an input, a list, an optional one; an attribute that must be there."""
    total = sum(others, x * factor + shift)
    return total if else_ is None else total - else_


scaled.__annotations__["others"] = "Tensors"
KERNEL = Kernel(scaled, {"mode": 0})


def node(inputs, outputs=Y, **attributes):
    return Node("n", "Scaled", tuple(inputs), attributes, outputs)


def test_inputs_and_attributes_come_by_name():
    tensors = {"a:0": X, "b:0": 10 * X, "c:0": 100 * X}
    fed = [("else", ""), ("x", "a:0"), ("others0", "b:0"), ("others1", "c:0")]
    (y,) = compute(node(fed, factor=2.0, mode=0), KERNEL, tensors)
    assert y.tolist() == [112.0, 224.0]
    (y,) = compute(node([*fed[1:], ("else", "a:0")], factor=2.0, shift=1.0), KERNEL, tensors)
    assert y.tolist() == [112.0, 223.0]


@pytest.mark.parametrize(
    ("inputs", "attributes", "outputs", "told"),
    [
        ([("x", "a:0"), ("z", "a:0")], {"factor": 1.0}, Y, "input `z` of `Scaled` is not computed with here"),
        ([("others0", "a:0")], {"factor": 1.0}, Y, "`Scaled` has no input `x`"),
        ([("x", "a:0")], {}, Y, "`Scaled` has no attribute `factor`"),
        ([("x", "a:0")], {"factor": 1.0, "mode": 1}, Y, "attribute `mode=1` of `Scaled` is not computed here"),
        ([("x", "a:0")], {"factor": 1.0, "new": 0}, Y, "attribute `new=0` of `Scaled` is not computed here"),
        ([("x", "a:0")], {"factor": 1.0}, (*Y, *Y), "`Scaled` gives 1 outputs, where the graph has 2"),
        (
            [("x", "a:0")],
            {"factor": 1.0},
            (Described("y", "DT_FLOAT16"),),
            "is float32, where the graph has DT_FLOAT16",
        ),
        ([("x", "a:0")], {"factor": "2"}, Y, "`Scaled` refuses its inputs: "),
    ],
)
def test_what_has_no_place_is_refused(inputs, attributes, outputs, told):
    with pytest.raises(CannotCompute) as raised:
        compute(node(inputs, outputs, **attributes), KERNEL, {"a:0": X})
    assert told in raised.value.reason


def data(index, dtype="DT_FLOAT", shape=(2,)):
    return Node(f"in{index}", "Data", (), {"index": index}, (Described("y", dtype, shape),))


def adding(name, one, other, after=()):
    return Node(name, "Add", (("x1", one), ("x2", other)), {}, Y, after)


def test_nodes_run_after_what_they_need_and_wait_for():
    first = adding("first", "in0:0", "in0:0", after=("last",))
    last = adding("last", "in0:0", "in0:0")
    assert [each.name for each in in_order([first, last, data(0)])] == ["in0", "last", "first"]
    with pytest.raises(ValueError, match="no order: first waits for last"):
        in_order([data(0), first])


def test_an_output_may_be_the_memory_of_an_input():
    out = Node("out", "NetOutput", (("input0", "twice:0"), ("input1", "in0:0")))
    graph = Graph((data(0), adding("twice", "in0:0", "in0:0"), out), ("x",), assigned=((0, 0),), logits=0)
    memory = torch.tensor([[1.0, 5.0], [2.0, 6.0]])[:, 0]  # not contiguous: written back
    assert run(graph, [memory]).tolist() == [2.0, 4.0]
    assert memory.tolist() == [2.0, 4.0]
    run(graph, [memory])
    assert memory.tolist() == [4.0, 8.0]


def test_an_input_is_what_the_graph_says():
    out = Node("out", "NetOutput", (("input0", "in0:0"),))
    for declared in (data(0, shape=(3,)), data(0, dtype="DT_INT64")):
        with pytest.raises(CannotCompute, match="input in0 is"):
            run(Graph((declared, out), ("x",)), [X])


def test_a_graph_is_read_from_plain_data():
    value = {"name": "", "dtype": "DT_FLOAT", "shape": [2], "data": base64.b64encode(X.numpy().tobytes()).decode()}
    plain = [
        {"name": "c", "type": "Const", "inputs": [], "attributes": {"value": value}, "outputs": [value], "after": []},
        {"name": "o", "type": "NetOutput", "inputs": [["input0", "c:0"]], "attributes": {}, "outputs": [], "after": []},
    ]
    graph = graph_of(
        {
            "nodes": [{**each, "frames": [["a.py", 3]]} for each in plain],
            "inputs": [],
            "constants": {},
            "assigned": [],
            "logits": 0,
        }
    )
    assert run(graph, []).tolist() == [1.0, 2.0]
    assert graph.nodes[0].frames == (("a.py", 3),)
    broken = Graph((Node("c", "Const", (), {"value": {**value, "shape": [3]}}, Y), graph.nodes[1]), ())
    with pytest.raises(CannotCompute, match="the constant c"):
        run(broken, [])

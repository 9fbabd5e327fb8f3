"""Nodes to kernels, on graphs small enough to count by hand."""

from collections import Counter

from porter.lowering.count import Phase, Place, phase, unconverted

FILE = "/ports/modeling_toy.py"


def node(kind, line=None, folded=False, deeper=None, op=""):
    frames = [["/library/wrapper.py", 1]]
    if line is not None:
        frames.append([FILE, line])
    if deeper is not None:
        frames.append(["/runtime/masks.py", deeper])
    return {"type": kind, "folded": folded, "op": op, "frames": frames}


def graph(layers, extra=()):
    a_layer = [node("MatMul", 20), node("Transpose", 20, folded=True), node("Reshape", 21), node("Const"), *extra]
    return [node("Data"), node("GatherV2", 10), *(a_layer * layers), node("MatMul", 30), node("NetOutput")]


def test_constants_inputs_views_and_transposes_of_weights_are_no_kernels():
    found = phase("decode", [graph(1), graph(2), graph(3)], FILE)
    assert found.layers == ({"MatMul": 1},)
    assert (found.kernels, found.nodes, found.once_a_step) == (1, 4, 2)


def test_a_transpose_of_states_is_a_kernel():
    extra = [node("Transpose", 22)]
    found = phase("decode", [graph(count, extra) for count in (1, 2, 3)], FILE)
    assert found.layers == ({"MatMul": 1, "Transpose": 1},)


def test_what_runs_once_is_named_by_the_line_of_the_model():
    found = phase("prefill", [graph(1), graph(2), graph(3)], FILE)
    assert [(entry.place.line, entry.kernels) for entry in found.once] == [
        ("modeling_toy.py:10", {"GatherV2": 1}),
        ("modeling_toy.py:30", {"MatMul": 1}),
    ]


def test_a_line_that_runs_once_more_than_there_are_layers_counts_once():
    graphs = [[*graph(count), node("Cast", 20), *[node("Cast", 20)] * count] for count in (1, 2, 3)]
    found = phase("decode", graphs, FILE)
    assert found.layers == ({"MatMul": 1, "Cast": 1},)
    assert {"Cast": 1} in [entry.kernels for entry in found.once]


def test_layers_that_differ_are_both_kept():
    wide = [node("Cast", 23)] * 2
    found = phase("decode", [graph(1), graph(2), [*graph(3), *wide]], FILE)
    assert [Counter(layer) for layer in found.layers] == [{"MatMul": 1}, {"MatMul": 1, "Cast": 2}]
    assert found.kernels == 3


def test_what_is_no_fused_op_and_no_product_is_named_by_the_line_that_asks_for_it():
    asked = [node("SwiGlu", 21, op="npu.npu_swiglu.default"), node("Cast", 24), node("Cast", 24), node("SplitV", 25)]
    found = phase("decode", [graph(count, asked) for count in (1, 2, 3)], FILE)
    assert (found.kernels, found.implied) == (5, 2)
    assert [(line.place.line, line.kernels) for line in found.beside] == [
        ("modeling_toy.py:24", {"Cast": 2}),
        ("modeling_toy.py:25", {"SplitV": 1}),
    ]


def test_of_layers_that_differ_the_costliest_says_what_stands_beside_its_ops():
    wide = [node("Cast", 23)] * 2
    found = phase("decode", [graph(1), graph(2), [*graph(3), *wide]], FILE)
    assert [line.kernels for line in found.beside] == [{"Cast": 2}] and found.implied == 1


def test_an_attention_is_told_lengths_where_its_op_takes_a_tensor():
    kind = "FusedInferAttentionScore"
    told, not_told = (node(kind, 22, op=f"{space}.npu_fused_infer_attention_score.default") for space in ("air", "npu"))
    found = phase("decode", [graph(1), graph(2), [*graph(3), told, told, not_told]], FILE)
    assert (found.attention, found.with_lengths) == (3, 2)
    assert found.implied == found.kernels == 4


def test_two_graphs_are_enough_for_one_figure():
    assert phase("decode", [graph(1), graph(2)], FILE).kernels == 1


def test_an_op_without_converter_is_placed_in_the_model_and_where_it_led():
    failure = {"op": "aten.all.dim", "reason": "not implemented", "frames": node("", 342, deeper=101)["frames"]}
    found = unconverted(failure, FILE)
    assert (found.op, found.place) == ("aten.all.dim", Place("modeling_toy.py:342", "", "masks.py:101"))


def test_an_op_outside_the_model_is_placed_where_it_is():
    found = unconverted({"op": "aten.x", "reason": "", "frames": [["/library/other.py", 7]]}, FILE)
    assert found.place == Place("other.py:7")
    assert unconverted({"op": "", "reason": "graph break", "frames": []}, FILE).place is None


def test_a_phase_that_does_not_convert_counts_nothing():
    found = Phase("decode", unconverted({"op": "aten.x", "reason": "", "frames": []}, FILE))
    assert not found.converts
    assert (found.kernels, found.once_a_step) == (0, 0)

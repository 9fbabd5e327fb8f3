"""Llama's graphs compute what the source computes; with one thing wrong in them they do not, and that is seen.

Each fault is put into the graphs that TorchAir made, or made by its own converter.
"""

import shutil
from dataclasses import replace

import pytest
import torch

from porter.convert import convert
from porter.emit import emit
from porter.graph.execute import LIMIT, execute
from porter.graph.values import Node, in_order
from porter.lowering.named import STEPS
from porter.source import load_source
from porter.verify.pair import relative
from tests.graph.conftest import Lowered, lowered
from tests.lowering.conftest import LLAMA


def test_the_graphs_compute_what_the_source_computes(llama):
    (prefill, decode), stop = llama.ran(steps=STEPS)
    assert stop is None
    assert (prefill.steps, decode.steps) == (1, STEPS)
    assert decode.error > 0, "another order of sums than the source's"
    for step in (prefill, decode):
        assert step.error <= LIMIT
        assert step.differ == 0 and step.agrees
        assert step.nodes["FusedInferAttentionScore"] == 2
        assert step.nodes["Scatter"] == 4


def changed(graphs, change):
    """Both graphs with `change(node)` in the place of each node that it gives something for."""
    made = {}
    for name, graph in graphs.items():
        pieces = [change(node) or [node] for node in graph.nodes]
        nodes = in_order(node for piece in pieces for node in piece)
        assert nodes != graph.nodes, "there is no fault in it"
        made[name] = replace(graph, nodes=nodes)
    return made


def said(kind, **attributes):
    """Nodes of that type with other attributes; None leaves one out."""

    def change(node):
        if node.type != kind:
            return None
        kept = {**node.attributes, **attributes}
        return [replace(node, attributes={name: value for name, value in kept.items() if value is not None})]

    return change


def swapped_cos_and_sin(node):
    if node.type != "RotaryMul":
        return None
    fed = dict(node.inputs)
    return [replace(node, inputs=(("x", fed["x"]), ("r1", fed["r2"]), ("r2", fed["r1"])))]


def mask_of_the_wrong_polarity(node):
    if node.type != "FusedInferAttentionScore":
        return None
    fed = dict(node.inputs)
    turned = Node(f"{node.name}_turned", "LogicalNot", (("x", fed["atten_mask"]),), outputs=node.outputs[:0])
    turned = replace(turned, outputs=(replace(node.outputs[0], name="y", dtype="DT_BOOL"),))
    return [turned, replace(node, inputs=tuple({**fed, "atten_mask": f"{turned.name}:0"}.items()))]


def no_mask(node):
    if node.type != "FusedInferAttentionScore":
        return None
    return [replace(node, inputs=tuple({**dict(node.inputs), "atten_mask": ""}.items()))]


def masks_nothing_later(node):
    if node.type != "Greater":
        return None
    fed = dict(node.inputs)
    return [replace(node, type="NotEqual", inputs=(("x1", fed["x1"]), ("x2", fed["x1"])))]


def lengths_of_nothing(node):
    if node.type != "FusedInferAttentionScore":
        return None
    fed = dict(node.inputs)
    lengths = fed["actual_seq_lengths_kv"]
    none = Node(f"{node.name}_none", "Sub", (("x1", lengths), ("x2", lengths)))
    none = replace(none, outputs=(replace(node.outputs[0], name="y", dtype="DT_INT64"),))
    return [none, replace(node, inputs=tuple({**fed, "actual_seq_lengths_kv": f"{none.name}:0"}.items()))]


def keys_that_are_not_written(node):
    if node.type != "Scatter":
        return None
    return [replace(node, type="Identity", inputs=(("x", dict(node.inputs)["var"]),), attributes={})]


def values_for_keys(node):
    if node.type != "FusedInferAttentionScore":
        return None
    fed = dict(node.inputs)
    return [replace(node, inputs=tuple({**fed, "key0": fed["value0"]}.items()))]


@pytest.mark.parametrize(
    "fault",
    [
        swapped_cos_and_sin,
        mask_of_the_wrong_polarity,
        no_mask,
        lengths_of_nothing,
        keys_that_are_not_written,
        values_for_keys,
        pytest.param(said("FusedInferAttentionScore", scale=None), id="a dropped scale"),
        pytest.param(said("Scatter", axis=2), id="a Scatter on the axis of the heads"),
        pytest.param(said("Scatter", axis=0), id="a Scatter on the axis of the batch"),
        pytest.param(said("RmsNorm", epsilon=1e-3), id="another epsilon"),
        pytest.param(said("FusedInferAttentionScore", num_key_value_heads=None), id="dropped key heads"),
        pytest.param(said("SwiGlu", dim=1), id="a gate along the positions"),
    ],
)
def test_a_fault_in_the_graphs_is_seen(llama, fault):
    ran, stop = llama.ran(changed(llama.graphs, fault))
    assert stop is not None or not all(step.agrees for step in ran)
    if stop is not None:  # an operator that refuses what it is given is named with its line
        assert stop.phase == ("decode" if ran else "prefill")
        assert stop.place.line.startswith(("modeling_llama.py:", "node "))
        assert "refuses its inputs" in stop.reason


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_in_decode_the_mask_is_for_padding_alone(llama, phase):
    """What is not written yet the lengths keep out too; among the tokens of a prompt the mask alone does."""
    seen = changed({phase: llama.graphs[phase]}, masks_nothing_later)
    ran, stop = llama.ran({**llama.graphs, **seen})
    assert stop is None
    assert all(step.agrees for step in ran) == (phase == "decode")


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_a_fault_in_one_phase_is_seen_there(llama, phase):
    wrong = changed({phase: llama.graphs[phase]}, swapped_cos_and_sin)
    (prefill, decode), stop = llama.ran({**llama.graphs, **wrong})
    assert stop is None
    assert prefill.agrees == (phase == "decode")
    assert not decode.agrees, "the keys of a wrong prefill are wrong too"


def test_an_operator_without_a_kernel_is_named_with_its_line(llama):
    graphs = changed(llama.graphs, lambda node: [replace(node, type="SwiGlu3")] if node.type == "SwiGlu" else None)
    ran, stop = llama.ran(graphs)
    assert ran == ()
    assert (stop.phase, stop.reason) == ("prefill", "no kernel for `SwiGlu3`")
    assert "npu_swiglu" in stop.place.code


def test_a_port_that_keeps_its_source_s_cache_is_not_executed(tmp_path):
    ported = convert(load_source("transformers.models.llama"), name="kept", without=("attention",))
    emit(ported, tmp_path / "kept")
    found = execute(tmp_path / "kept")
    assert not found.agrees and found.ran == ()
    assert "keeps the attention and the cache of its source" in found.stop.reason


CALL = "    return torch_npu.npu_rotary_mul(q, cos, sin), torch_npu.npu_rotary_mul(k, cos, sin)\n"
BY_NEIGHBOURS = """    half = cos.shape[-1] // 2
    cos, sin = (torch.stack((t[..., :half],) * 2, -1).flatten(-2).flatten(0, 1) for t in (cos, sin))

    def turned(states):
        mixed = states.unflatten(-1, (2, half)).transpose(-1, -2).flatten(-2)
        mixed = torch_npu.npu_rotary_mul(mixed.flatten(0, 1), cos, sin, rotary_mode="interleave")
        return mixed.view_as(states).unflatten(-1, (half, 2)).transpose(-1, -2).flatten(-2)

    return turned(q), turned(k)
"""


@pytest.fixture(scope="module")
def by_neighbours(tmp_path_factory):
    """A port that turns neighbours, with the channels in their order: in eager it computes what its source computes."""
    place = shutil.copytree(LLAMA, tmp_path_factory.mktemp("neighbours") / "llama2")
    file = place / "modeling_llama.py"
    text = file.read_text()
    assert CALL in text
    file.write_text(text.replace(CALL, BY_NEIGHBOURS))
    return place


def test_the_mode_that_the_converter_drops_is_seen(by_neighbours, tmp_path):
    """TorchAir makes RotaryMul of `rotary_mode="interleave"` on A2 and says nothing."""
    found = lowered(by_neighbours, tmp_path, unchecked=True)
    assert isinstance(found, Lowered), found
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        assert relative(found.port(ids).logits, found.source(ids).logits) < LIMIT, "the port itself is right"
    assert {node.type for node in found.graphs["decode"].nodes} >= {"RotaryMul"}
    ran, stop = found.ran()
    assert stop is None
    assert not any(step.agrees for step in ran)
    assert min(step.error for step in ran) > 1000 * LIMIT


def test_checked_it_does_not_get_that_far(by_neighbours):
    found = execute(by_neighbours, edited=True)
    assert not found.agrees and found.ran == ()
    assert "`rotary_mode='interleave'` does not arrive in what it becomes" in found.stop.reason
    assert "npu_rotary_mul" in found.stop.place.code

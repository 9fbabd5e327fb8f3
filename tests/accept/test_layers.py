"""A whole model on a device with one wrong op: the layer is named, and the op."""

import pytest
import torch

from porter.accept.layers import small_by_layer, through_port, through_source
from porter.accept.model import IN_FLOAT32, in_float32, small_model
from porter.accept.probe import AGREES, DIFFERS
from porter.npu.attention_contract import OP
from tests.accept.conftest import CPU, port_of, sides
from tests.accept.wrong import FAULTS


def by_layer(name, **stand_ins):
    entries = []
    small_by_layer(port_of(name), sides(**stand_ins), torch.bfloat16, entries.append)
    return entries


def test_a_right_device_agrees_in_every_layer():
    entries = by_layer("llama2")
    assert [entry["call"] for entry in entries] == ["layer 0", "layer 1"]
    assert {entry["outcome"] for entry in entries} == {AGREES}
    assert all(0 < entry["figures"]["bfloat16"]["after_ulp"] < 3 for entry in entries)


@pytest.mark.parametrize(
    ("op", "fault"),
    [
        ("npu_rotary_mul", "cos and sin swapped"),
        (OP, "the mask's polarity"),
        ("npu_swiglu", "gate and up swapped"),
        ("npu_rms_norm", "no gamma"),
    ],
)
def test_the_first_layer_that_differs_is_named_with_its_op(op, fault):
    entries = by_layer("llama2", **{op: FAULTS[op][fault]})
    assert [entry["call"] for entry in entries] == ["layer 0"] and entries[0]["outcome"] == DIFFERS
    assert f"the first op that differs is {op}:" in entries[0]["detail"]


def test_a_layer_that_is_wrong_without_a_wrong_op_says_so():
    """Every op right by itself, in a model whose products are not its source's."""
    with small_model(port_of("llama2")) as small:
        passed = through_source(small.source(torch.bfloat16), CPU)
        port = small.port(torch.bfloat16)
        port.model.layers[1].mlp.down_proj.weight.data.mul_(2)
        entries = []
        through_port(port, passed, sides(), entries.append)
    assert [entry["outcome"] for entry in entries] == [AGREES, DIFFERS]
    assert "none of its 7 NPU ops differs by itself" in entries[1]["detail"]


def test_the_checks_of_verify_see_a_wrong_device(monkeypatch):
    asked = {name: IN_FLOAT32[name] for name in ("logits", "chunked prefill")}
    monkeypatch.setattr("porter.accept.model.IN_FLOAT32", asked)
    entries = []
    in_float32(port_of("llama2"), sides(scatter_update_=FAULTS["scatter_update_"]["one slot on"]), entries.append)
    found = {entry["call"]: entry["outcome"] for entry in entries}
    assert found == {"logits": DIFFERS, "chunked prefill": DIFFERS}, "both read what was written into the cache"
    entries.clear()
    in_float32(port_of("llama2"), sides(), entries.append)
    assert {entry["outcome"] for entry in entries} == {AGREES}

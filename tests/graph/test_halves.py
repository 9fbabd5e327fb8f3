"""Graphs in 16 bits: within the error rule as they are, and not with one thing wrong in them."""

from dataclasses import replace

import pytest
import torch

from porter.graph.halves import tokens_that_differ
from porter.lowering.named import STEPS
from tests.graph.conftest import Lowered, lowered
from tests.graph.test_controls import (
    changed,
    keys_that_are_not_written,
    mask_of_the_wrong_polarity,
    no_mask,
    said,
    swapped_cos_and_sin,
    values_for_keys,
)
from tests.lowering.conftest import LLAMA

A_DROPPED_SCALE = pytest.param(said("FusedInferAttentionScore", scale=None), id="a dropped scale")


@pytest.fixture(scope="module")
def in_bfloat16(tmp_path_factory) -> Lowered:
    """Llama, whose graphs cast nothing."""
    found = lowered(LLAMA, tmp_path_factory.mktemp("bfloat16"), dtype=torch.bfloat16)
    assert isinstance(found, Lowered), found
    return found


@pytest.fixture(scope="module")
def in_float16(tmp_path_factory) -> Lowered:
    """Gemma 3, whose norms compute with weights in float32."""
    found = lowered(LLAMA.parent / "gemma3", tmp_path_factory.mktemp("float16"), dtype=torch.float16)
    assert isinstance(found, Lowered), found
    return found


@pytest.fixture
def few_prompts(monkeypatch):
    """What is shown to be wrong by 4 prompts is by 64: the rule allows for chance by how few there are."""
    monkeypatch.setattr("porter.verify.precision.FEW", 2)
    monkeypatch.setattr("porter.verify.precision.MANY", 4)


@pytest.mark.parametrize("name", ["in_bfloat16", "in_float16"])
def test_the_graphs_are_as_wrong_as_the_source_at_most(request, name):
    half = request.getfixturevalue(name)
    (prefill, decode), stop, rule = half.ran_in(steps=STEPS)
    assert stop is None
    assert (prefill.steps, decode.steps) == (1, STEPS)
    assert prefill.agrees and decode.agrees and min(prefill.error, decode.error) > 1e-4, "these are 16 bits"
    assert rule.passed and rule.figure > 0.5


@pytest.mark.parametrize(
    "fault",
    [
        swapped_cos_and_sin,
        mask_of_the_wrong_polarity,
        no_mask,
        keys_that_are_not_written,
        values_for_keys,
        A_DROPPED_SCALE,
        pytest.param(said("Scatter", axis=2), id="a Scatter on the axis of the heads"),
        pytest.param(said("Scatter", axis=0), id="a Scatter on the axis of the batch"),
        pytest.param(said("FusedInferAttentionScore", num_key_value_heads=None), id="dropped key heads"),
        pytest.param(said("SwiGlu", dim=1), id="a gate along the positions"),
        pytest.param(said("RmsNorm", epsilon=0.1), id="another epsilon"),
    ],
)
def test_a_fault_in_the_graphs_is_seen(in_bfloat16, few_prompts, fault):
    assert is_seen(in_bfloat16, fault)


def is_seen(half, fault):
    _, stop, rule = half.ran_in(changed(half.graphs, fault))
    return stop is not None or not rule.passed


def test_by_few_prompts_no_fault_is_seen_where_there_is_none(in_bfloat16, in_float16, few_prompts):
    for half in (in_bfloat16, in_float16):
        _, stop, rule = half.ran_in()
        assert stop is None and rule.passed


def dropped_cast(node):
    return [replace(node, type="Identity", attributes={})] if node.type == "Cast" else None


def wrong_cast(node):
    """float32 and float16 exchanged, and declared so."""
    if node.type != "Cast":
        return None
    other, declared = (1, "DT_FLOAT16") if node.attributes["dst_type"] == 0 else (0, "DT_FLOAT")
    outputs = (replace(node.outputs[0], dtype=declared),)
    return [replace(node, attributes={**node.attributes, "dst_type": other}, outputs=outputs)]


@pytest.mark.parametrize("fault", [dropped_cast, wrong_cast, no_mask, A_DROPPED_SCALE])
def test_a_fault_in_graphs_that_cast_is_seen(in_float16, few_prompts, fault):
    assert is_seen(in_float16, fault)


def test_a_token_differs_where_the_source_would_not_take_it_either():
    truth = torch.tensor([[4.0, 3.9, 0.0]])
    theirs = truth + torch.tensor([[0.06, 0.0, 0.0]])
    other = torch.tensor([[3.9, 4.0, 0.0]])
    assert tokens_that_differ(other, truth, theirs, torch.bfloat16) == 0
    assert tokens_that_differ(torch.tensor([[0.0, 0.0, 4.0]]), truth, theirs, torch.bfloat16) == 1
    assert tokens_that_differ(other, truth, truth, torch.float16) == 1
    assert tokens_that_differ(other * float("nan"), truth, theirs, torch.bfloat16) == 1

"""Llama's graphs in 16 bits: within the error rule as they are, and not with one thing wrong in them."""

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


@pytest.fixture(scope="module", params=[torch.bfloat16, torch.float16], ids=str)
def half(request, tmp_path_factory) -> Lowered:
    found = lowered(LLAMA, tmp_path_factory.mktemp("half"), dtype=request.param)
    assert isinstance(found, Lowered), found
    return found


def test_the_graphs_are_as_wrong_as_the_source_at_most(half):
    (prefill, decode), stop, rule = half.ran_in(steps=STEPS)
    assert stop is None
    assert (prefill.steps, decode.steps) == (1, STEPS)
    assert prefill.agrees and decode.agrees and prefill.error > 1e-5, "these are 16 bits"
    assert rule.passed and rule.figure > 0.5


def dropped_cast(node):
    return [replace(node, type="Identity", attributes={})] if node.type == "Cast" else None


def wrong_cast(node):
    """float32 and 16 bits exchanged, and declared so."""
    if node.type != "Cast":
        return None
    other, declared = (27, "DT_BF16") if node.attributes["dst_type"] == 0 else (0, "DT_FLOAT")
    outputs = (replace(node.outputs[0], dtype=declared),)
    return [replace(node, attributes={**node.attributes, "dst_type": other}, outputs=outputs)]


@pytest.mark.parametrize(
    "fault",
    [
        swapped_cos_and_sin,
        mask_of_the_wrong_polarity,
        no_mask,
        keys_that_are_not_written,
        values_for_keys,
        dropped_cast,
        wrong_cast,
        pytest.param(said("FusedInferAttentionScore", scale=None), id="a dropped scale"),
        pytest.param(said("Scatter", axis=2), id="a Scatter on the axis of the heads"),
        pytest.param(said("Scatter", axis=0), id="a Scatter on the axis of the batch"),
        pytest.param(said("FusedInferAttentionScore", num_key_value_heads=None), id="dropped key heads"),
        pytest.param(said("SwiGlu", dim=1), id="a gate along the positions"),
        pytest.param(said("RmsNorm", epsilon=0.1), id="another epsilon"),
    ],
)
def test_a_fault_in_the_graphs_is_seen(half, fault):
    _, stop, rule = half.ran_in(changed(half.graphs, fault))
    assert stop is not None or not rule.passed


def test_a_token_differs_where_the_source_would_not_take_it_either():
    truth = torch.tensor([[4.0, 3.9, 0.0]])
    theirs = truth + torch.tensor([[0.06, 0.0, 0.0]])
    other = torch.tensor([[3.9, 4.0, 0.0]])
    assert tokens_that_differ(other, truth, theirs, torch.bfloat16) == 0
    assert tokens_that_differ(torch.tensor([[0.0, 0.0, 4.0]]), truth, theirs, torch.bfloat16) == 1
    assert tokens_that_differ(other, truth, truth, torch.float16) == 1
    assert tokens_that_differ(other * float("nan"), truth, theirs, torch.bfloat16) == 1

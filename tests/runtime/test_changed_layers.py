"""Layers dropped, reordered and repeated after the model is built: the source's tokens, or one clear error."""

import copy

import pytest
import torch
from torch import nn

from porter.runtime import StaticKVCache
from tests.runtime.shipped import IDS, greedy, source_and_port

ORDERS = [[0, 1, 2], [0, 3], [0], [0, 2, 1, 3], [1, 2, 3], [3, 2, 1, 0], [3], [2, 0]]
REPEATED = [[0, 1, 1, 2, 3], [0, 0, 1, 2, 3], [0, 1, 2, 3, 0, 1, 2, 3], [0, 1, 2, 3, 3]]


def arrange(model, order, renumber, configure):
    layers = [model.model.layers[index] for index in order]
    if renumber:
        layers = [copy.deepcopy(layer) for layer in layers]
        for index, layer in enumerate(layers):
            layer.self_attn.layer_idx = index
    model.model.layers = nn.ModuleList(layers)
    if configure:
        model.config.num_hidden_layers = len(layers)


def tokens_or_error(model, **arguments):
    try:
        return greedy(model, **arguments)
    except (ValueError, IndexError) as error:
        return error


@pytest.mark.parametrize("configure", [False, True], ids=["", "config counts them"])
@pytest.mark.parametrize("renumber", [False, True], ids=["", "layer_idx renumbered"])
@pytest.mark.parametrize("order", [*ORDERS, *REPEATED], ids=str)
def test_tokens_are_those_of_the_source_or_one_error_says_why(order, renumber, configure):
    models = source_and_port()
    for model in models:
        arrange(model, order, renumber, configure)
    expected, found = map(tokens_or_error, models)
    if isinstance(found, torch.Tensor):
        assert torch.equal(expected, found)
        return
    runs = order if configure else order[:4]  # the model runs as many as its configuration counts
    if len(set(runs)) < len(runs) and not renumber:
        assert "two layers write to place" in str(found) and "layer_idx of its own" in str(found)
    else:  # the source fails too
        assert isinstance(expected, IndexError)
        assert "number their layer_idx from 0" in str(found)


WAYS = [{"num_beams": 3}, {"prompt_lookup_num_tokens": 3}, {"prefill_chunk_size": 3}]


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("order", [[0, 1], [1, 3], [2, 0, 1, 3]], ids=str)
def test_every_way_of_generating_after_pruning(order, way):
    models = source_and_port()
    for model in models:
        arrange(model, order, renumber=False, configure=False)
    ids = torch.tensor([[5, 6, 7, 8, 5, 6, 7, 8, 5, 6]])
    expected = models[0].generate(ids, max_new_tokens=12, do_sample=False, **way)
    try:
        assert torch.equal(expected, models[1].generate(ids, max_new_tokens=12, do_sample=False, **way))
    except ValueError as error:  # the source counts the tokens of its layer 0, and masks by what it finds there
        assert 0 not in order and "place 0 of the KV cache is empty" in str(error)


def test_a_pruned_model_counts_the_tokens_in_its_cache():
    source, port = source_and_port()
    for model in (source, port):
        arrange(model, [0, 1, 2], renumber=False, configure=False)
    with torch.no_grad():
        theirs, ours = (model(IDS, use_cache=True).past_key_values for model in (source, port))
        assert theirs.get_seq_length() == ours.get_seq_length() == 7
        expected, found = (m(IDS[:, :1], past_key_values=c).logits for m, c in ((source, theirs), (port, ours)))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert ours.get_seq_length() == 8 and ours.cursor.positions.tolist() == [8, 8]


def test_a_layer_put_back_in_front_of_a_cache_it_did_not_fill_is_refused():
    _, port = source_and_port()
    whole = port.model.layers
    cache = StaticKVCache(port.config)
    port.model.layers = whole[:3]
    with torch.no_grad():
        port(IDS, past_key_values=cache)
        port.model.layers = whole
        with pytest.raises(ValueError, match="layer 3 holds 0 of the 7 tokens"):
            port(IDS[:, :1], past_key_values=cache)
        assert cache.get_seq_length() == 7  # the step that broke off does not count


def test_compiled_steps_of_a_pruned_and_reordered_model():
    torch._dynamo.reset()
    source, port = source_and_port()
    for model in (source, port):
        arrange(model, [3, 0, 2], renumber=False, configure=False)
    step = torch.compile(port, fullgraph=True, dynamic=False, backend="eager")
    cache = StaticKVCache(port.config, max_cache_len=24)
    cache.early_initialization(2, 2, 8, torch.float32, "cpu")
    with torch.no_grad():
        theirs, ours = source(IDS), step(IDS, past_key_values=cache)
        for _ in range(4):
            torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-5, atol=1e-5)
            token = theirs.logits[:, -1:].argmax(-1)
            theirs = source(token, past_key_values=theirs.past_key_values)
            ours = step(token, past_key_values=cache)
    assert cache.get_seq_length() == 11

"""The cache and the masks under torch.compile: one graph, no recompiles, no host reads, the same tokens."""

import pytest
import torch

from porter.runtime import CacheFull, StaticKVCache, left_pad, position_ids_from_mask
from tests.error_rule import model_roundings, no_further, truth_of
from tests.runtime.toy_port import source_and_port

SLOTS = 40
PROMPTS = [[5, 9, 3, 7, 8], [11, 4, 6, 2, 9, 13, 8, 21, 17]]


def agree(ours, theirs, truth, config):
    no_further(ours, theirs, truth, model_roundings(config, SLOTS))


class Graphs:
    """A backend that runs the graph as it is and counts graphs."""

    def __init__(self):
        self.graphs = []

    def __call__(self, graph, _example_inputs):
        self.graphs.append(graph)
        return graph.forward


@pytest.fixture
def compiled():
    torch._dynamo.reset()
    source, port = source_and_port()
    backend = Graphs()
    with torch.no_grad():
        yield source, port, torch.compile(port, fullgraph=True, dynamic=False, backend=backend), backend


def test_decode_is_one_graph_and_gives_the_tokens_of_the_source(compiled, monkeypatch):
    source, port, step, backend = compiled
    ids, mask = left_pad(PROMPTS, 0)
    length, whole = ids.shape[1], torch.nn.functional.pad(mask, (0, SLOTS - ids.shape[1]), value=1)
    expected = source.generate(ids, attention_mask=mask, max_new_tokens=24, do_sample=False)[:, length:]

    cache = StaticKVCache(port.config, SLOTS)
    at = position_ids_from_mask(mask)
    logits = port(ids, attention_mask=mask, position_ids=at, past_key_values=cache).logits
    tokens, at = [logits[:, -1].argmax(-1, keepdim=True)], at[:, -1:]
    with monkeypatch.context() as patched:  # from here on the host must not ask the device
        patched.setattr(type(cache.cursor), "seen", None)
        for number in range(23):
            assert cache.reserve(1) == length + number
            at = at + 1
            logits = step(tokens[-1], attention_mask=whole, position_ids=at, past_key_values=cache).logits
            tokens.append(logits[:, -1].argmax(-1, keepdim=True))
    assert torch.equal(torch.cat(tokens, dim=1), expected)
    assert len(backend.graphs) == 1
    assert cache.get_seq_length() == length + 23


def test_another_cache_of_the_same_shape_needs_no_new_graph(compiled):
    source, port, step, backend = compiled
    ids, truth = torch.tensor(PROMPTS[:1]), truth_of(source)
    for _ in range(3):
        cache = StaticKVCache(port.config, SLOTS)
        port(ids, past_key_values=cache)
        theirs, exact = source(ids), truth(ids)
        for _ in range(3):
            token = theirs.logits[:, -1:].argmax(-1)
            theirs = source(token, past_key_values=theirs.past_key_values)
            exact = truth(token, past_key_values=exact.past_key_values)
            ours = step(token, past_key_values=cache)  # nobody reserves: positions come from the device
            agree(ours.logits, theirs.logits, exact.logits, port.config)
        assert cache.get_seq_length() == 8
    assert len(backend.graphs) == 1


def test_a_prefill_compiles_on_a_cache_allocated_before(compiled):
    source, port, step, backend = compiled
    ids, mask = left_pad(PROMPTS, 0)
    at, whole = position_ids_from_mask(mask), torch.nn.functional.pad(mask, (0, SLOTS - ids.shape[1]), value=1)
    expected, exact = (
        model(ids, attention_mask=mask, position_ids=at).logits[mask.bool()] for model in (source, truth_of(source))
    )
    cache = StaticKVCache(port.config, SLOTS)
    cache.early_initialization(2, 2, 8, torch.float32, "cpu")
    for _ in range(2):
        cache.reserve(ids.shape[1])
        ours = step(ids, attention_mask=whole, position_ids=at, past_key_values=cache)
        agree(ours.logits[mask.bool()], expected, exact, port.config)
        cache.reset()
    assert len(backend.graphs) == 1


def test_a_cache_made_inside_the_graph_serves_eager_steps_after_it(compiled):
    source, port, step, _ = compiled
    ids, truth = torch.tensor(PROMPTS[:1]), truth_of(source)
    ours, theirs, exact = step(ids, use_cache=True), source(ids), truth(ids)
    assert ours.past_key_values.get_seq_length() == 5
    token = theirs.logits[:, -1:].argmax(-1)
    after = port(token, past_key_values=ours.past_key_values).logits
    expected = source(token, past_key_values=theirs.past_key_values).logits
    agree(after, expected, truth(token, past_key_values=exact.past_key_values).logits, port.config)
    with pytest.raises(Exception, match="cannot grow the KV cache"):
        step(token, past_key_values=ours.past_key_values)
    ours.past_key_values.grow_to(SLOTS)
    step(token, past_key_values=ours.past_key_values)


def test_reserve_refuses_before_the_graph_would_write_past_the_end(compiled):
    _, port, step, _ = compiled
    cache = StaticKVCache(port.config, 7)
    port(torch.tensor(PROMPTS[:1]), past_key_values=cache)
    for _ in range(2):
        cache.reserve(1)
        step(torch.tensor([[4]]), past_key_values=cache)
    with pytest.raises(CacheFull, match="7 slots, 7 of them in use"):
        cache.reserve(1)
    with pytest.raises(CacheFull):
        port(torch.tensor([[4]]), past_key_values=cache)


def test_made_functional_the_step_still_writes_in_place():
    torch._dynamo.reset()
    source, port = source_and_port()
    step = torch.compile(port, fullgraph=True, dynamic=False, backend="aot_eager")
    with torch.no_grad():
        cache, ids = StaticKVCache(port.config, SLOTS), torch.tensor(PROMPTS[:1])
        port(ids, past_key_values=cache)
        address, theirs = cache.layers[0].keys.data_ptr(), source(ids)
        truth = truth_of(source)
        exact = truth(ids)
        for _ in range(3):
            token = theirs.logits[:, -1:].argmax(-1)
            theirs = source(token, past_key_values=theirs.past_key_values)
            exact = truth(token, past_key_values=exact.past_key_values)
            ours = step(token, past_key_values=cache)
            agree(ours.logits, theirs.logits, exact.logits, port.config)
    assert cache.layers[0].keys.data_ptr() == address


def test_generate_with_a_compiled_forward():
    torch._dynamo.reset()
    source, port = source_and_port()
    ids, mask = left_pad(PROMPTS, 0)
    expected = source.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False)
    port.forward = torch.compile(port.forward, backend="eager")
    assert torch.equal(port.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False), expected)

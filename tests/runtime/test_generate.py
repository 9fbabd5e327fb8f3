"""generate() of a port gives the tokens of the source, whichever way it is asked."""

import pytest
import torch
from transformers import DynamicCache

from porter.runtime import CacheFull, StaticKVCache, left_pad, position_ids_from_mask
from tests.error_rule import model_roundings, no_further, surely_chosen, truth_of
from tests.runtime.toy_port import LlamaForCausalLM, source_and_port, tiny_config

PROMPTS = [[5, 9, 3, 7, 8], [11, 4, 6, 2, 9, 13, 8, 21, 17], [44, 3]]
REPEATING = torch.tensor([[5, 6, 7, 8, 5, 6, 7, 8, 5, 6]])


@pytest.fixture(scope="module")
def models():
    return source_and_port()


def generated(model, seed=0, **arguments):
    torch.manual_seed(seed)
    arguments = {"do_sample": False, "max_new_tokens": 20} | arguments
    if "input_ids" not in arguments and "inputs_embeds" not in arguments:
        arguments["input_ids"], arguments["attention_mask"] = left_pad(PROMPTS, 0)
    return model.generate(**arguments)


WAYS = {
    "greedy": {},
    "greedy, static cache asked for": {"cache_implementation": "static"},
    "sampling": {"do_sample": True, "top_k": 20},
    "several samples of each": {"do_sample": True, "num_return_sequences": 3},
    "beams": {"num_beams": 3},
    "sampled beams": {"do_sample": True, "num_beams": 3, "num_return_sequences": 2},
    "prompt lookup": {"input_ids": REPEATING, "prompt_lookup_num_tokens": 4},
    "prefill in chunks": {"input_ids": REPEATING, "prefill_chunk_size": 3},
    "without a cache": {"use_cache": False},
    "one token": {"max_new_tokens": 1},
}


@pytest.mark.parametrize("way", WAYS)
def test_tokens_are_those_of_the_source(models, way):
    source, port = models
    arguments = dict(WAYS[way])
    ours = generated(port, **arguments)
    arguments.pop("cache_implementation", None)
    assert torch.equal(generated(source, **arguments), ours)


@pytest.mark.parametrize("window", [3, 8, 64])
def test_past_the_sliding_window(window):
    source, port = source_and_port(sliding_window=window)
    assert torch.equal(generated(source), generated(port))


@pytest.mark.parametrize("changes", [{"num_key_value_heads": 4}, {"head_dim": 24}, {"attention_bias": True}], ids=str)
def test_greedy_tokens_over_64_steps(changes):
    source, port = source_and_port(**changes)
    assert torch.equal(generated(source, max_new_tokens=64), generated(port, max_new_tokens=64))


@pytest.mark.parametrize(
    "changes",
    [{}, *({"sliding_window": window} for window in (3, 8, 64)),
     {"num_key_value_heads": 4}, {"head_dim": 24}, {"attention_bias": True}], ids=str,
)  # fmt: skip
def test_no_greedy_choice_here_is_a_toss_up(changes):
    """So that the tokens are the same on every machine."""
    source, _ = source_and_port(**changes)
    steps = generated(source, max_new_tokens=64, return_dict_in_generate=True, output_logits=True)
    surely_chosen(torch.stack(steps.logits), model_roundings(source.config, 73))


@pytest.mark.parametrize("which", ["itself", "a smaller port"])
def test_with_an_assistant_model(models, which):
    source, port = models
    torch.manual_seed(3)
    assistant = port if which == "itself" else LlamaForCausalLM(tiny_config(num_hidden_layers=1)).eval()
    ours = generated(port, input_ids=REPEATING, assistant_model=assistant)
    assert torch.equal(generated(source, input_ids=REPEATING), ours)


def test_from_embeddings(models):
    tokens = [generated(model, inputs_embeds=model.get_input_embeddings()(REPEATING)) for model in models]
    assert torch.equal(*tokens)


def test_the_cache_has_exactly_the_slots_generate_needs(models):
    out = generated(models[1], return_dict_in_generate=True)
    assert out.past_key_values.layers[0].keys.shape[:2] == (3, 9 + 20 - 1)
    longer = generated(models[1], return_dict_in_generate=True, cache_implementation="static", max_cache_len=40)
    assert longer.past_key_values.layers[0].keys.shape[1] == 40


def test_a_conversation_goes_on_from_the_returned_cache(models):
    ids, mask = left_pad(PROMPTS, 0)
    answers = []
    for model in models:
        out = generated(model, max_new_tokens=6, return_dict_in_generate=True)
        ids = torch.cat([out.sequences, torch.full((3, 2), 11)], dim=1)
        whole = torch.nn.functional.pad(mask, (0, ids.shape[1] - mask.shape[1]), value=1)
        answers.append(generated(model, input_ids=ids, attention_mask=whole, past_key_values=out.past_key_values))
    assert torch.equal(*answers)


def test_a_cache_of_the_caller_is_used_and_has_its_limit(models):
    source, port = models
    cache = StaticKVCache(port.config, max_cache_len=9 + 20 - 1)
    assert torch.equal(generated(source), generated(port, past_key_values=cache))
    assert cache.get_seq_length() == 28
    with pytest.raises(CacheFull, match="27 slots, 27 of them in use"):
        generated(port, past_key_values=StaticKVCache(port.config, max_cache_len=27))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"past_key_values": DynamicCache()}, TypeError, "DynamicCache"),
        ({"cache_implementation": "quantized"}, ValueError, "StaticKVCache only"),
        ({"cache_implementation": "dynamic"}, ValueError, "StaticKVCache only"),
        ({"output_attentions": True, "return_dict_in_generate": True}, ValueError, "gives no weights out"),
    ],
)
def test_what_a_port_does_not_do_is_an_error(models, arguments, error, message):
    with pytest.raises(error, match=message):
        generated(models[1], **arguments)


def test_forward_twice_on_the_cache_it_returns(models):
    source, port = models
    ids, mask = left_pad(PROMPTS, 0)
    truth, steps = truth_of(source), model_roundings(source.config, 10)
    theirs, ours, exact = (
        model(ids, attention_mask=mask, position_ids=position_ids_from_mask(mask), output_hidden_states=True)
        for model in (*models, truth)
    )
    real = mask.bool()
    for states in zip(*([each.logits, *each.hidden_states] for each in (ours, theirs, exact)), strict=True):
        no_further(*(values[real] for values in states), steps)
    token = theirs.logits[:, -1:].argmax(-1)
    mask = torch.nn.functional.pad(mask, (0, 1), value=1)
    at = position_ids_from_mask(mask)[:, -1:]
    theirs, ours, exact = (
        model(token, attention_mask=mask, position_ids=at, past_key_values=before.past_key_values).logits
        for model, before in ((source, theirs), (port, ours), (truth, exact))
    )
    no_further(ours, theirs, exact, steps)

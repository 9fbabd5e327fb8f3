"""A configuration by which the source's cache forgets what its mask shows: the source's tokens, or an error."""

import copy

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from porter.convert import convert
from porter.emit import emit
from porter.runtime import StaticKVCache, load_model_class
from porter.runtime.arguments import OtherComputation
from porter.source import load_source
from tests.runtime.conftest import SIZES
from tests.runtime.shipped import IDS, source_and_port

WINDOWED = {
    "a window": {"sliding_window": 3},
    "chunks": {"attention_chunk_size": 3},
    "a window of one layer": {"sliding_window": 3, "layer_types": ["full_attention", "sliding_attention"]},
    "a longer window": {"sliding_window": 9},
}
OF_NO_EFFECT = {
    "a window for all there will be": {"sliding_window": 18},
    "chunks for all there will be": {"attention_chunk_size": 18},
    "a window of no layer": {"sliding_window": 3, "layer_types": ["full_attention", "full_attention"]},
}


def asked(**changes):
    source, port = source_and_port(num_hidden_layers=2)
    for model in (source, port):
        for name, value in changes.items():
            setattr(model.config, name, value)
    return source, port


def generated(model, **options):
    return model.generate(IDS, max_new_tokens=12, do_sample=False, **options)


@pytest.mark.parametrize("changes", WINDOWED.values(), ids=WINDOWED)
def test_more_tokens_than_the_source_keeps_are_refused_before_one(changes):
    source, port = asked(**changes)
    assert not torch.equal(generated(source), generated(source_and_port(num_hidden_layers=2)[0]))  # it does forget
    with pytest.raises(OtherComputation, match="keeps fewer tokens"):
        generated(port)
    with torch.no_grad():
        without = port(IDS, use_cache=False).logits
        assert torch.allclose(without, source(IDS, use_cache=False).logits, atol=1e-5)


@pytest.mark.parametrize("changes", OF_NO_EFFECT.values(), ids=OF_NO_EFFECT)
def test_what_the_source_does_not_forget_is_computed(changes):
    source, port = asked(**changes)
    assert torch.equal(generated(port), generated(source))


@pytest.mark.parametrize("prompt", [1, 2])
def test_tokens_one_by_one_are_refused_where_the_window_ends(prompt):
    """Also from a prompt of one token, for which there is no mask."""
    source, port = asked(sliding_window=3)
    ours, theirs = StaticKVCache(port.config), None
    with torch.no_grad():
        for at in range(3 - prompt + 1):
            ids = IDS[:, :prompt] if at == 0 else IDS[:, prompt + at - 1 : prompt + at]
            expected = source(ids, past_key_values=theirs, use_cache=True)
            theirs = expected.past_key_values
            assert torch.allclose(port(ids, past_key_values=ours).logits, expected.logits, atol=1e-5)
        with pytest.raises(OtherComputation, match="keeps fewer tokens"):
            port(IDS[:, 3:4], past_key_values=ours)


def loaded(kind, window, source):
    model = kind(MistralConfig(**SIZES, sliding_window=window)).eval()
    model.load_state_dict(source.state_dict())
    return model


def test_a_mask_with_that_window_is_what_it_says(tmp_path):
    ported = convert(load_source("transformers.models.mistral"), name="mistral")
    emit(ported, tmp_path / "mistral")
    config = MistralConfig(**SIZES, sliding_window=3)
    torch.manual_seed(0)
    source = MistralForCausalLM(copy.deepcopy(config)).eval()
    port = load_model_class("mistral", tmp_path)(copy.deepcopy(config)).eval()
    port.load_state_dict(source.state_dict())
    assert torch.equal(generated(port), generated(source))
    for window, prompt in ((3, 1), (5, 2), (9, 4)):  # steps without a mask come before the window ends
        ours, theirs = (loaded(kind, window, source) for kind in (type(port), type(source)))
        tokens = [model.generate(IDS[:, :prompt], max_new_tokens=12, do_sample=False) for model in (ours, theirs)]
        assert torch.equal(*tokens)
    port.config.sliding_window = source.config.sliding_window = 2  # and the masks with it
    assert torch.equal(generated(port), generated(source))

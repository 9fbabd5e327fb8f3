"""What is set on a built port, or loaded into it, that its source heeds and the port's code would never come to."""

import copy
import sys
from unittest import mock

import pytest
import torch
from accelerate import init_empty_weights, load_checkpoint_and_dispatch, load_checkpoint_in_model
from transformers import BartConfig, BartForCausalLM, MixtralConfig, MixtralForCausalLM

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.runtime import load_model_class
from porter.runtime.arguments import OtherComputation
from porter.runtime.quantized import QuantizedCheckpoint
from porter.source import load_source
from tests.runtime.shipped import IDS, MODELS, source_and_port


def logits(model, **options):
    with torch.no_grad():
        return model(IDS, **options).logits


def see_both_ways(model):
    for layer in model.model.layers:
        layer.self_attn.is_causal = False


def train(model):
    model.train()


def train_one(model):
    model.model.layers[2].self_attn.train()


def exchange(path, part):
    def change(model):
        owner = model.get_submodule(path)
        wide = owner.get_submodule("o_proj" if "attn" in path else "down_proj").out_features
        rows = {"q_proj": 32, "k_proj": 16, "v_proj": 16}.get(part, owner.config.intermediate_size)
        torch.manual_seed(1)
        setattr(owner, part, torch.nn.Linear(wide, rows, bias=False))

    return change


def relu_in(path):
    def change(model):
        model.get_submodule(path).act_fn = torch.nn.ReLU()

    return change


CHANGES = {
    "every attention sees both ways": (see_both_ways, "is_causal was set to False on a LlamaAttention"),
    "dropout while training": (train, "attention_dropout=0.5 drops attention weights"),
    "dropout in one layer": (train_one, "attention_dropout=0.5 drops attention weights"),
    "another q": (exchange("model.layers.1.self_attn", "q_proj"), "`q_proj` was set on a LlamaAttention"),
    "another v": (exchange("model.layers.0.self_attn", "v_proj"), "`v_proj` was set on a LlamaAttention"),
    "another activation": (relu_in("model.layers.2.mlp"), "`act_fn` was set on a LlamaMLP"),
    "another gate": (exchange("model.layers.3.mlp", "gate_proj"), "`gate_proj` was set on a LlamaMLP"),
}


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("moved", [False, True])
def test_it_changes_the_source_and_is_refused_on_the_port(kind, moved):
    change, said = CHANGES[kind]
    source, port = source_and_port(attention_dropout=0.5)
    before = logits(source)
    port = copy.deepcopy(port) if moved else port
    change(source)
    change(port)
    assert (logits(source) - before).abs().max() > 0.01
    for call in (lambda: port(IDS), lambda: port.model(IDS), lambda: port.generate(IDS, max_new_tokens=2)):
        with pytest.raises(OtherComputation, match=said):
            call()


def inheriting(**methods):
    """A port each of whose attentions is of a class derived from the ported one, built by that."""
    module = sys.modules[type(source_and_port()[1]).__module__]
    derived = type("OwnAttention", (module.LlamaAttention,), {"__module__": module.__name__, **methods})
    with mock.patch.object(module, "LlamaAttention", derived):
        return source_and_port(attention_dropout=0.5)


def forward_by_super(self, *args, **kwargs):
    return super(type(self), self).forward(*args, **kwargs)


@pytest.mark.parametrize("methods", [{}, {"report": lambda self: None}, {"forward": forward_by_super}])
@pytest.mark.parametrize("kind", ["every attention sees both ways", "dropout while training"])
def test_it_is_refused_of_an_attention_that_inherits_its_forward(kind, methods):
    change, said = CHANGES[kind]
    source, port = inheriting(**methods)
    torch.testing.assert_close(logits(port), logits(source), rtol=1e-5, atol=1e-5)
    change(port)
    with pytest.raises(OtherComputation, match=said.replace("LlamaAttention", "OwnAttention")):
        port(IDS)


def test_a_forward_of_its_own_heeds_what_it_likes():
    def forward(self, hidden_states, **kwargs):
        return self.o_proj(hidden_states), None

    _, port = inheriting(forward=forward)
    before = logits(port)
    see_both_ways(port)
    train(port)
    assert torch.equal(logits(port), before)


def test_what_changes_nothing_of_the_attention_is_no_fault():
    source, port = source_and_port(attention_dropout=0.5)
    for model in (source, port):
        model.train()
        for layer in model.model.layers:
            layer.self_attn.eval()
            layer.self_attn.observer = torch.nn.Linear(2, 2)
            layer.self_attn.scaling = 0.4
    torch.testing.assert_close(logits(port), logits(source), rtol=1e-5, atol=1e-5)


def test_an_attention_to_an_encoder_was_never_causal(tmp_path):
    """The decoder of BART has one in each layer, and alone never calls it."""
    ported = convert(load_source("transformers.models.bart"), name="bart")
    assert not isinstance(emit(ported, tmp_path / "bart"), Refused)
    sizes = {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 48, "vocab_size": 97}
    config = BartConfig(**sizes, attention_dropout=0.0, max_position_embeddings=64)
    source = BartForCausalLM(config).eval()
    port = load_model_class("bart", tmp_path)(copy.deepcopy(config)).eval()
    port.load_state_dict(source.state_dict())
    layer = port.model.decoder.layers[0]
    assert layer.self_attn.is_causal and not layer.encoder_attn.is_causal
    torch.testing.assert_close(logits(port), logits(source), rtol=1e-5, atol=1e-5)
    layer.self_attn.is_causal = False
    with pytest.raises(OtherComputation, match="is_causal was set to False"):
        port(IDS)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("kind", ["int8", "one part in int8", "fp8", "scales beside"])
def test_a_quantized_state_dict_is_not_cast(kind, strict):
    source, port = source_and_port()
    before, state = logits(port), dict(source.state_dict())
    for name in state:
        if kind == "int8" or (kind == "one part in int8" and "v_proj" in name):
            state[name] = (state[name] * 100).to(torch.int8)
        elif kind == "fp8" and "norm" in name:
            state[name] = state[name].to(torch.float8_e4m3fn)
    if kind == "scales beside":
        state["model.layers.0.self_attn.o_proj.weight_scale"] = torch.ones(1)
    with pytest.raises(QuantizedCheckpoint, match="in the state dict"):
        port.load_state_dict(state, strict=strict)
    assert torch.equal(logits(port), before)


@pytest.mark.parametrize("shards", ["1GB", "20KB"])
@pytest.mark.parametrize("empty", [False, True])
def test_accelerate_does_not_fill_a_port_by_names(tmp_path, empty, shards):
    source, port = source_and_port()
    source.save_pretrained(tmp_path, max_shard_size=shards)
    if empty:
        with init_empty_weights():
            port = type(port)(port.config)
    with pytest.raises(ValueError, match=r"from_pretrained\(folder, device_map=...\)"):
        load_checkpoint_and_dispatch(port, tmp_path, device_map={"": "cpu"})
    loaded = type(port).from_pretrained(tmp_path, device_map={"": "cpu"})
    torch.testing.assert_close(logits(loaded), logits(source), rtol=1e-5, atol=1e-5)


def test_accelerate_fills_it_whole_from_one_file(tmp_path):
    source, port = source_and_port()
    source.save_pretrained(tmp_path)
    for parameter in port.parameters():
        torch.nn.init.zeros_(parameter)
    load_checkpoint_in_model(port, tmp_path)
    torch.testing.assert_close(logits(port), logits(source), rtol=1e-5, atol=1e-5)


def of_a_cache(model, change):
    """Logits outside of inference mode behind a cache that was filled, and changed, inside of it."""
    with torch.inference_mode():
        cache = model(IDS[:1, :4]).past_key_values
        cache.batch_repeat_interleave(2)
        change(model, cache)
    cache.reorder_cache(torch.tensor([1, 0]))
    with torch.no_grad():
        return model(IDS[:, 4:], past_key_values=cache).logits


@pytest.mark.parametrize("steps", [0, 130])
def test_a_cache_outlives_inference_mode(steps):
    def more(model, cache):
        if steps:  # another block of an elastic cache
            model(torch.arange(steps).repeat(2, 1) % 90, past_key_values=cache)

    ours, theirs = (of_a_cache(model, more) for model in reversed(source_and_port()))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def mixtral():
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = MixtralConfig(**sizes, num_key_value_heads=2, num_local_experts=4, vocab_size=97)
    torch.manual_seed(0)
    source = MixtralForCausalLM(copy.deepcopy(config)).eval()
    port = load_model_class("mixtral", MODELS)(copy.deepcopy(config)).eval()
    port.load_state_dict(source.state_dict())
    return source, port


@pytest.mark.parametrize("activation", [torch.nn.ReLU(), torch.relu], ids=["module", "function"])
def test_another_activation_of_experts_is_refused(activation):
    source, port = mixtral()
    before = logits(source)
    torch.testing.assert_close(logits(port), before, rtol=1e-5, atol=1e-5)
    for model in (source, port):
        experts = model.model.layers[1].mlp.experts
        vars(experts).pop("act_fn", None)
        experts._modules.pop("act_fn", None)
        experts.act_fn = activation
    assert (logits(source) - before).abs().max() > 1e-3
    with pytest.raises(OtherComputation, match="`act_fn` was set on a MixtralExperts"):
        port(IDS)


def test_a_class_that_uses_what_was_set_on_it_heeds_it():
    _, port = source_and_port()
    mlp = port.model.layers[2].mlp

    class Relufied(type(mlp)):
        def forward(self, x):
            gate, up = self.gate_up(x).chunk(2, -1)
            return self.down_proj(self.act_fn(gate) * up)

    mlp.__class__, mlp.act_fn = Relufied, torch.nn.SiLU()
    expected = logits(source_and_port()[0])
    torch.testing.assert_close(logits(port), expected, rtol=1e-5, atol=1e-5)
    mlp.act_fn = torch.nn.ReLU()
    assert (logits(port) - expected).abs().max() > 0.01

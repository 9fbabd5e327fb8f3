"""A decoder layer is the source's to whoever looks at it, calls it, wraps it, or moves it."""

import pytest
import torch
from accelerate import cpu_offload, dispatch_model
from torch import nn

from tests.runtime.shipped import IDS, greedy, source_and_port

LAYERS = 4


@pytest.fixture
def models():
    return source_and_port()


def logits(model, mode=torch.no_grad):
    with mode():
        return model(IDS).logits


def same(expected, found):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def seen_by_hooks(model, modules):
    seen = []

    def hook(_module, args, output):
        seen.append((args[0].clone(), output.clone()))

    handles = [model.get_submodule(path).register_forward_hook(hook) for path in modules]
    logits(model)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("part", ["", ".input_layernorm", ".post_attention_layernorm", ".mlp"])
def test_hooks_see_what_the_source_s_see(models, part):
    paths = [f"model.layers.{index}{part}" for index in range(LAYERS)]
    expected, found = (seen_by_hooks(model, paths) for model in models)
    assert len(found) == len(expected) == LAYERS
    for theirs, ours in zip(expected, found, strict=True):
        same(theirs, ours)


def test_a_hook_on_the_final_norm_sees_what_the_source_s_sees(models):
    expected, found = (seen_by_hooks(model, ["model.norm"]) for model in models)
    same(expected, found)


RAMP = torch.linspace(0.5, 1.5, 32)  # a norm would take a factor of all states out again


def scaled(_module, _args, output):
    return output * RAMP


def scaled_in_place(_module, _args, output):
    output.mul_(RAMP)


HOOKS = {
    "returns other states": lambda layer: layer.register_forward_hook(scaled),
    "changes the states in place": lambda layer: layer.register_forward_hook(scaled_in_place),
    "changes what comes in": lambda layer: layer.register_forward_pre_hook(lambda _, args: (args[0] * RAMP, *args[1:])),
    "changes a norm": lambda layer: layer.input_layernorm.register_forward_hook(scaled),
    "changes the norm inside": lambda layer: layer.post_attention_layernorm.register_forward_hook(scaled),
}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("which", HOOKS)
def test_what_a_hook_changes_takes_effect(models, which, mode):
    before = logits(models[0])
    for model in models:
        for index in (1, LAYERS - 1):
            HOOKS[which](model.model.layers[index])
    expected = logits(models[0], mode)
    assert (expected - before).abs().max() > 1e-2
    same(expected, logits(models[1], mode))
    assert torch.equal(greedy(models[0]), greedy(models[1]))


class Wrapper(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, hidden_states, *args, **kwargs):
        return self.layer(hidden_states, *args, **kwargs)


class Scaling(Wrapper):
    """Takes what it knows by name, and changes what comes out, in place."""

    def forward(self, hidden_states, attention_mask=None, **kwargs):
        return self.layer(hidden_states, attention_mask=attention_mask, **kwargs).mul_(RAMP)


class Transparent(Wrapper):
    """Its attributes are the layer's, as those of wrappers that tools make."""

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)


@pytest.mark.parametrize("wrapped", [[0], [1], [LAYERS - 1], range(LAYERS)], ids=str)
@pytest.mark.parametrize("kind", [Wrapper, Scaling, Transparent])
def test_a_wrapper_around_a_layer_passes_on(models, kind, wrapped):
    for model in models:
        for index in wrapped:
            model.model.layers[index] = kind(model.model.layers[index])
    same(*map(logits, models))
    assert torch.equal(*map(greedy, models))


class Halving(nn.Module):
    """A norm of the user's own, in the place of the source's."""

    def forward(self, hidden_states):
        return hidden_states / 2


@pytest.mark.parametrize("name", ["input_layernorm", "post_attention_layernorm"])
def test_another_norm_in_its_place_is_called_as_the_source_calls_it(models, name):
    for model in models:
        setattr(model.model.layers[2], name, Halving())
    same(*map(logits, models))


class Caught(Exception):
    pass


class Catcher(Wrapper):
    """What calibration tools put in the place of the first layer."""

    def forward(self, hidden_states, **kwargs):
        self.caught = hidden_states, kwargs
        raise Caught


def layer_by_layer(model):
    """The states behind each layer, called one after the other with what the first one was given."""
    layers = model.model.layers
    layers[0] = catcher = Catcher(layers[0])
    with pytest.raises(Caught):
        model(IDS, use_cache=False)
    layers[0] = catcher.layer
    states, kwargs = catcher.caught
    behind = []
    with torch.no_grad():
        for layer in layers:
            states = layer(states, **kwargs)
            behind.append(states)
    return behind


def test_layers_called_one_by_one_with_what_was_caught_give_what_the_source_s_give(models):
    expected, found = map(layer_by_layer, models)
    same(expected, found)


def causal(length, dtype):
    keep = torch.ones(length, length, dtype=torch.bool).tril()[None, None]
    return keep if dtype == torch.bool else torch.zeros(1, 1, length, length).masked_fill(~keep, -torch.inf)


@pytest.mark.parametrize("by", ["keyword", "position"])
@pytest.mark.parametrize("mask", [None, torch.bool, torch.float32], ids=str)
@pytest.mark.parametrize("length", [1, 7])
def test_a_layer_called_alone_is_the_source_s(models, mask, by, length):
    hidden = torch.randn(2, length, 32, generator=torch.Generator().manual_seed(1))
    given = None if mask is None else causal(length, mask)
    found = []
    for model in models:
        positions = model.model.rotary_emb(hidden, torch.arange(length)[None])
        layer = model.model.layers[2]
        with torch.no_grad():
            if by == "position":
                found.append(layer(hidden, given, None, None, False, positions))
            else:
                found.append(layer(hidden, attention_mask=given, position_embeddings=positions))
    same(*found)


def test_a_mask_that_sees_everything_is_taken_as_the_source_takes_it(models):
    hidden = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    found = []
    for model in models:
        positions = model.model.rotary_emb(hidden, torch.arange(5)[None])
        everything = torch.ones(2, 1, 5, 5, dtype=torch.bool)
        with torch.no_grad():
            found.append(model.model.layers[0](hidden, attention_mask=everything, position_embeddings=positions))
    same(*found)
    with pytest.raises(ValueError, match=r"attention_mask is \(B or 1, 1, Q, KV\)"):
        models[1].model.layers[0](hidden, attention_mask=torch.ones(2, 5), position_embeddings=positions)


def test_a_module_of_the_mlp_and_attention_called_alone_are_the_source_s(models):
    hidden = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    positions = models[0].model.rotary_emb(hidden, torch.arange(5)[None])
    attended = [
        model.model.layers[1].self_attn(hidden_states=hidden, position_embeddings=positions, attention_mask=None)
        for model in models
    ]
    same(attended[0][0], attended[1][0])
    same(*(model.model.layers[1].mlp(hidden) for model in models))


OFFLOADED = {
    "every layer": lambda port, _: cpu_offload(port, execution_device=torch.device("cpu")),
    "one layer": lambda port, _: cpu_offload(port.model.layers[1], execution_device=torch.device("cpu")),
    "the last norm": lambda port, _: cpu_offload(port.model.norm, execution_device=torch.device("cpu")),
    "two layers on the disk": lambda port, folder: dispatch_model(
        port,
        dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"), "cpu")
        | {f"model.layers.{index}": "disk" if index in (1, 2) else "cpu" for index in range(LAYERS)},
        main_device="cpu",
        offload_dir=str(folder),
        force_hooks=True,
    ),
    "whole layers at once": lambda port, folder: dispatch_model(
        port,
        {"model": "cpu", "lm_head": "cpu"} | {"model": "disk"},
        main_device="cpu",
        offload_dir=str(folder),
        preload_module_classes=["LlamaDecoderLayer"],
        force_hooks=True,
    ),
}


@pytest.mark.parametrize("which", OFFLOADED)
def test_offloaded_layers_give_the_tokens_of_the_source(models, tmp_path, which):
    expected = greedy(models[0])
    OFFLOADED[which](models[1], tmp_path)
    assert torch.equal(expected, greedy(models[1]))


def test_autocast_is_as_far_from_fp32_as_the_source_is(models):
    truth = logits(models[0])
    with torch.autocast("cpu", torch.bfloat16):
        theirs, ours = map(logits, models)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    errors = [(found - truth).square().mean().sqrt() for found in (theirs, ours)]
    assert 0 < errors[1] <= 2 * errors[0]


def test_layers_compiled_one_by_one(models):
    torch._dynamo.reset()
    expected = logits(models[0])
    for layer in models[1].model.layers:
        layer.compile(backend="eager")
    same(expected, logits(models[1]))
    layers = models[1].model.layers
    models[1].model.layers = nn.ModuleList(torch.compile(layer, backend="eager") for layer in layers)
    same(expected, logits(models[1]))

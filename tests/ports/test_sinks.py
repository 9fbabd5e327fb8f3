"""Ports with sinks compute what their source does, whatever a sink takes: the source's own answer is the right one."""

from __future__ import annotations

import pytest
import torch

from porter.emit import emit
from porter.verify.pair import NpuOps, Pair, load, relative, write_checkpoint
from porter.verify.port import Port, open_to_compare
from porter.verify.tiny import tiny_config
from tests.engine.sources import port_of

MODELS = ["gpt_oss", "granite_swa", "granitemoe_swa", "flint", "mimo_v2_flash"]
WITH_SINKS = {"mimo_v2_flash": 1}  # layers; of the others all have them
SINKS = {"hardly anything": -30.0, "about as much as one key": 0.0, "nearly all": 20.0}


@pytest.fixture(scope="module", params=MODELS)
def pair(request, tmp_path_factory) -> Pair:
    folder = tmp_path_factory.mktemp(request.param)
    emit(port_of(request.param), folder / "port")
    port = open_to_compare(folder / "port")
    assert isinstance(port, Port), port
    source_class = port.load_source_class()
    write_checkpoint(source_class, tiny_config(source_class.config_class, sliding_window=4), folder / "checkpoint")
    models = [load(kind, folder / "checkpoint") for kind in (source_class, port.load_class())]
    return Pair(models[0], models[1], models[0].config, folder)


def sinks_of(model):
    return [parameter for name, parameter in model.named_parameters() if name.endswith(".sinks")]


@pytest.fixture(params=SINKS.values(), ids=SINKS)
def sunk(request, pair) -> Pair:
    """Both models with sinks around that number, another one for each head."""
    kept = [[sink.detach().clone() for sink in sinks_of(model)] for model in (pair.source, pair.port)]
    for model in (pair.source, pair.port):
        for sink in sinks_of(model):
            sink.data = request.param + torch.linspace(-1.0, 1.0, len(sink))
    yield pair
    for model, sinks in zip((pair.source, pair.port), kept, strict=True):
        for sink, was in zip(sinks_of(model), sinks, strict=True):
            sink.data = was


def test_logits_beyond_the_window(sunk):
    ids = sunk.prompts(2, 11)
    source, port = sunk.both(lambda model: model(ids).logits)
    assert relative(port, source) < 1e-5


def test_left_padding_and_the_steps_after_it(sunk):
    batch = sunk.padded((3, 8))
    source, port = sunk.both(lambda model: model(**batch).logits[:, -1])
    assert relative(port, source) < 1e-5
    source, port = sunk.both(lambda model: model.generate(**_given(batch), max_new_tokens=9, do_sample=False))
    assert torch.equal(port, source)


def _given(batch):
    return {name: value for name, value in batch.items() if name != "position_ids"}


def test_padding_that_sees_nothing_has_numbers(sunk):
    """A row that sees nothing has no log-sum-exp: it is given itself to see, so that nobody reads inf or NaN."""
    states = sunk.port(**sunk.padded((1, 9)), output_hidden_states=True).hidden_states
    assert all(bool(state.isfinite().all()) for state in states)


def test_each_layer_is_one_kernel_with_its_sinks(pair):
    with torch.no_grad(), NpuOps() as ops:
        pair.port(pair.prompts(1, 5))
    layers = pair.port.config.num_hidden_layers
    assert ops.calls["npu_fused_infer_attention_score"] == layers
    assert len(sinks_of(pair.port)) == WITH_SINKS.get(pair.config.model_type, layers)


def test_sinks_that_are_left_out_would_be_seen(pair):
    """The comparison can fail."""
    ids = pair.prompts(2, 9)
    with torch.no_grad():
        truth = pair.source(ids).logits
        for sink in sinks_of(pair.port):
            sink.data -= 100.0
        without = pair.port(ids).logits
        for sink in sinks_of(pair.port):
            sink.data += 100.0
    assert relative(without, truth) > 1e-3


def test_sdpa_has_no_sinks_and_is_refused_as_the_source_refuses_it(pair):
    for kind in (type(pair.source), type(pair.port)):
        with pytest.raises(ValueError, match="does not support an attention implementation"):
            load(kind, pair.folder / "checkpoint", attn_implementation="sdpa")


def test_where_sdpa_would_drop_the_sinks_it_is_refused_before_a_token(pair, monkeypatch):
    """A source that declares sdpa all the same computes something else under it."""
    ids, folder = pair.prompts(1, 5), pair.folder / "checkpoint"
    source, port = type(pair.source), type(pair.port)
    for kind in (source, port):
        declares = next(base for base in kind.__mro__ if "_supports_sdpa" in vars(base))
        monkeypatch.setattr(declares, "_supports_sdpa", True)
    with torch.no_grad():
        dropped, truth = load(source, folder)(ids).logits, pair.source(ids).logits
    assert relative(dropped, truth) > 1e-3
    with pytest.raises(ValueError, match="sdpa drops the sinks"):
        load(port, folder)
    with torch.no_grad():
        assert relative(load(port, folder, attn_implementation="eager")(ids).logits, truth) < 1e-5

"""Adapters of the source, put on a port by PEFT as it is: exact, alive and merged, and saved as there."""

import copy
import io

import pytest
import torch

from porter.runtime import block_products
from tests.runtime.adapter_kinds import (
    KINDS,
    assert_same_file,
    error,
    is_merged,
    load_on,
    logits,
    lora,
    put_on,
    tokens,
    write_adapter,
)

# every kind on one model, and those that q, k and v with biases may take otherwise on another
ON_QWEN2 = [kind for kind in KINDS if kind in ("LoRA on all seven", "LoRA on q and v", "DoRA", "IA3") or "bias" in kind]


CASES = [*(("llama", kind) for kind in KINDS), *(("qwen2", kind) for kind in ON_QWEN2)]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_an_adapter_of_the_source_is_on_the_port_what_it_is_there(pairs, kind, name, tmp_path):
    source, port = pairs(name)
    plain, parameters = logits(source), {key: value.shape for key, value in port.named_parameters()}
    made = write_adapter(source, KINDS[kind](), tmp_path / "made")
    tuned = load_on(port, tmp_path / "made")
    theirs = logits(made)
    if theirs.shape == plain.shape and kind != "tokens":
        assert error(theirs, plain) > 0.1  # it does something
    assert error(logits(tuned), theirs) < 1e-5
    assert torch.equal(tokens(tuned), tokens(made))
    tuned.save_pretrained(tmp_path / "saved")
    assert_same_file(tmp_path / "made", tmp_path / "saved", "adapter_model.safetensors")
    if "prompt" in kind or "repeated" in kind:  # PEFT does not merge the first, and merges the second wrong
        return
    try:
        merged = made.merge_and_unload()
    except RuntimeError as refused:  # no bias to merge a bias into
        with pytest.raises(RuntimeError, match="lora_bias"):
            tuned.merge_and_unload()
        assert "lora_bias" in str(refused)
        return
    assert tuned.merge_and_unload() is port and is_merged(port)
    assert {key: value.shape for key, value in port.named_parameters()} == parameters
    assert error(logits(port), logits(merged)) < 1e-5 and torch.equal(tokens(port), tokens(merged))
    port.save_pretrained(tmp_path / "port")
    merged.save_pretrained(tmp_path / "source")
    assert_same_file(tmp_path / "source", tmp_path / "port", "model.safetensors")


def test_without_an_adapter_nothing_changes(pairs, tmp_path):
    source, port = pairs("llama")
    before, names = logits(port), [name for name, _ in port.named_modules()]
    layout = list(port.state_dict())
    write_adapter(source, lora(), tmp_path)
    for _ in range(2):
        unloaded = load_on(port, tmp_path).unload()
        assert torch.equal(logits(unloaded), before) and [name for name, _ in port.named_modules()] == names
        assert list(port.state_dict()) == layout and all(not tensor.is_meta for tensor in port.state_dict().values())


def test_weights_are_not_copied_on_taking_apart(pairs):
    _, port = pairs("llama")
    place = port.model.layers[0].self_attn.qkv.weight.data_ptr()
    put_on(port, lora())
    attention = port.model.layers[0].self_attn
    assert attention.q_proj.weight.data_ptr() == place
    assert [attention.get_submodule(part).out_features for part in ("q_proj", "k_proj", "v_proj")] == [32, 16, 16]


def test_modules_are_named_as_in_the_source(pairs):
    source, port = (put_on(model, lora("all-linear")) for model in pairs("qwen2"))
    ours, theirs = ([name for name, _ in model.named_modules()] for model in (port, source))
    assert ours == [name for name in theirs if not name.endswith("act_fn")]
    assert error(logits(port), logits(source)) < 1e-5  # drawn from one seed in one order


def test_several_adapters_one_at_a_time_together_and_row_by_row(pairs, tmp_path):
    source, port = pairs("llama")
    plain = logits(source)
    write_adapter(source, lora(), tmp_path / "a", seed=1).unload()
    write_adapter(source, lora(["q_proj", "v_proj"]), tmp_path / "b", seed=2).unload()
    both = [load_on(model, tmp_path / "a", adapter_name="a") for model in (source, port)]
    for tuned in both:
        tuned.load_adapter(tmp_path / "b", "b")
        tuned.add_weighted_adapter(["a", "b"], [0.7, 0.3], "c", combination_type="cat")
    for active in ("a", "b", "c", ["a", "b"]):
        for tuned in both:
            tuned.base_model.set_adapter(active)
        theirs, ours = map(logits, both)
        assert error(theirs, plain) > 0.1 and error(ours, theirs) < 1e-5, active
    for tuned in both:
        tuned.set_adapter("a")
    theirs, ours = (logits(tuned, adapter_names=["a", "b"]) for tuned in both)
    assert error(ours, theirs) < 1e-5
    with both[1].disable_adapter():
        assert error(logits(both[1]), plain) < 1e-5
    both[1].merge_adapter()
    assert error(logits(both[1]), logits(both[0])) < 1e-5
    both[1].unmerge_adapter()
    both[1].delete_adapter("b")
    assert error(logits(both[1]), logits(both[0])) < 1e-5


def test_transformers_own_methods(pairs, tmp_path):
    source, port = pairs("qwen2")
    plain = logits(source)
    want_a = logits(write_adapter(source, lora(), tmp_path / "a", seed=1))
    source, _ = pairs("qwen2")
    want_b = logits(write_adapter(source, lora(["k_proj", "up_proj"]), tmp_path / "b", seed=2))
    port.load_adapter(tmp_path / "a")
    assert error(logits(port), want_a) < 1e-5
    port.load_adapter(tmp_path / "b", adapter_name="b")
    port.set_adapter("b")
    assert error(logits(port), want_b) < 1e-5
    port.save_pretrained(tmp_path / "saved")  # the active adapter
    source, _ = pairs("qwen2")
    source.load_adapter(tmp_path / "saved")
    assert error(logits(source), want_b) < 1e-5
    port.disable_adapters()
    assert error(logits(port), plain) < 1e-5
    port.delete_adapter(["default", "b"])
    assert is_merged(port) and error(logits(port), plain) < 1e-5
    port.save_pretrained(tmp_path / "whole")
    assert error(logits(type(source).from_pretrained(tmp_path / "whole")), plain) < 1e-5


def test_copies_and_pickles_are_models_of_their_own(pairs, tmp_path):
    source, port = pairs("llama")
    want = logits(write_adapter(source, lora(), tmp_path))
    tuned = load_on(port, tmp_path)
    buffer = io.BytesIO()
    torch.save(tuned, buffer)
    buffer.seek(0)
    for other in (copy.deepcopy(tuned), torch.load(buffer, weights_only=False)):
        assert error(logits(other), want) < 1e-5
        assert error(logits(other.merge_and_unload()), want) < 1e-5
    assert error(logits(tuned), want) < 1e-5  # which the merges of its copies have not touched


def test_an_alive_adapter_compiles_into_one_graph(pairs, tmp_path):
    source, port = pairs("llama")
    want = logits(write_adapter(source, lora(), tmp_path), use_cache=False)
    load_on(port, tmp_path)
    compiled = torch.compile(port, backend="eager", fullgraph=True)
    assert error(logits(compiled, use_cache=False), want) < 1e-5


def test_weights_in_bfloat16_are_the_sources_bit_for_bit(pairs, tmp_path):
    source, port = (model.to(torch.bfloat16) for model in pairs("qwen2"))
    write_adapter(source, lora(), tmp_path / "adapter").unload()
    for model, name in ((source, "source"), (port, "port")):
        load_on(model, tmp_path / "adapter").merge_and_unload().save_pretrained(tmp_path / name)
    assert_same_file(tmp_path / "source", tmp_path / "port", "model.safetensors")


def test_products_by_blocks_stay_products_by_blocks(pairs, monkeypatch, tmp_path):
    monkeypatch.setattr("porter.runtime.products._LARGE", 1)
    monkeypatch.setattr("porter.runtime.products.ROWS", 16)
    source, port = pairs("llama")
    want = logits(write_adapter(source, lora(), tmp_path))
    assert block_products(port) == 13
    merged = load_on(port, tmp_path).merge_and_unload()
    assert error(logits(merged), want) < 1e-5 and block_products(port) == 0

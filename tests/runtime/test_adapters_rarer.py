"""Kinds of adapters that are used less, and several kinds on one port: what they give on the source, or an error."""

import peft
import pytest
import torch

from tests.runtime.adapter_kinds import (
    RARER,
    SEVEN,
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


@pytest.mark.parametrize("kind", RARER)
def test_it_is_on_the_port_what_it_is_on_the_source(pairs, kind, tmp_path):
    source, port = pairs("llama")
    plain = logits(source)
    made = write_adapter(source, RARER[kind](), tmp_path / "made")
    tuned = load_on(port, tmp_path / "made")
    theirs = logits(made)
    assert theirs.shape != plain.shape or error(theirs, plain) > 0.01
    assert error(logits(tuned), theirs) < 1e-5
    tuned.save_pretrained(tmp_path / "saved")
    assert_same_file(tmp_path / "made", tmp_path / "saved", "adapter_model.safetensors")
    try:
        want = logits(made.merge_and_unload())
    except (AttributeError, NotImplementedError):  # of a prompt and of what hangs on the input
        return
    assert error(logits(tuned.merge_and_unload()), want) < 1e-5 and is_merged(port)


def test_kinds_mixed_on_one_model(pairs):
    found = []
    for model in pairs("llama"):
        torch.manual_seed(3)
        mixed = peft.get_peft_model(model, lora(init_lora_weights=False), mixed=True).eval()
        mixed.add_adapter("b", peft.LoHaConfig(target_modules=["q_proj", "up_proj"], r=4, init_weights=False))
        mixed.set_adapter(["default", "b"])
        found.append((logits(mixed), logits(mixed.merge_and_unload())))
    (theirs, their_merged), (ours, our_merged) = found
    assert error(ours, theirs) < 1e-5 and error(our_merged, their_merged) < 1e-5
    assert error(theirs, logits(pairs("llama")[0])) > 0.1


def test_experts_of_adapters_weighted_by_the_input(pairs, tmp_path):
    for name, seed in (("0", 1), ("1", 2)):
        write_adapter(pairs("llama")[0], lora(task_type="CAUSAL_LM"), tmp_path / name, seed)
    found = []
    for model in pairs("llama"):
        model.config.use_cache = False  # as PEFT asks for
        torch.manual_seed(3)
        adapters = {name: str(tmp_path / name) for name in ("0", "1")}
        config = peft.XLoraConfig(hidden_size=32, adapters=adapters, xlora_depth=2, task_type="CAUSAL_LM")
        found.append(logits(peft.get_peft_model(model, config).eval()))
    assert error(found[1], found[0]) < 1e-5
    assert error(found[0], logits(pairs("llama")[0])) > 0.1


@pytest.mark.parametrize("combination", ["linear", "svd", "ties", "dare_linear", "magnitude_prune"])
def test_adapters_weighted_together(pairs, combination, tmp_path):
    write_adapter(pairs("llama")[0], lora(), tmp_path / "a", seed=1)
    write_adapter(pairs("llama")[0], lora(), tmp_path / "b", seed=2)
    options = {} if combination in ("linear", "svd") else {"density": 0.5}
    merged = []
    for model in pairs("llama"):
        tuned = load_on(model, tmp_path / "a", adapter_name="a")
        tuned.load_adapter(tmp_path / "b", "b")
        torch.manual_seed(0)
        tuned.add_weighted_adapter(["a", "b"], [0.7, 0.3], "c", combination_type=combination, **options)
        tuned.set_adapter("c")
        merged.append((logits(tuned), logits(tuned.merge_and_unload(adapter_names=["c"]))))
    assert error(merged[1][0], merged[0][0]) < 1e-5 and error(merged[1][1], merged[0][1]) < 1e-5


def test_disabled_in_a_context_and_tokens_after_it(pairs, tmp_path):
    source, port = pairs("llama")
    plain = tokens(source)
    want = tokens(write_adapter(source, lora(), tmp_path))
    tuned = load_on(port, tmp_path)
    with tuned.disable_adapter():
        assert torch.equal(tokens(tuned), plain)
    assert torch.equal(tokens(tuned), want) and not torch.equal(want, plain)


def test_modules_that_no_adapter_names_are_trained_whole(pairs, tmp_path):
    """`modules_to_save` may name parts of a merge: a copy of each stands in for it."""
    source, port = pairs("llama")
    made = write_adapter(source, lora(["o_proj"], modules_to_save=["k_proj", "up_proj"]), tmp_path / "made")
    tuned = load_on(port, tmp_path / "made")
    assert error(logits(tuned), logits(made)) < 1e-5
    merged, want = tuned.merge_and_unload(), made.merge_and_unload()
    assert is_merged(merged) and error(logits(merged), logits(want)) < 1e-5
    merged.save_pretrained(tmp_path / "port")
    want.save_pretrained(tmp_path / "source")
    assert_same_file(tmp_path / "source", tmp_path / "port", "model.safetensors")


@pytest.mark.parametrize("kind", ["prefix", "cartridge", "adaption"])
def test_what_needs_another_cache_or_another_attention_is_refused(pairs, kind):
    _, port = pairs("llama")
    want = logits(port)
    config = {
        "prefix": lambda: peft.PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
        "cartridge": lambda: peft.CartridgeConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
        "adaption": lambda: peft.AdaptionPromptConfig(adapter_len=4, adapter_layers=2, task_type="CAUSAL_LM"),
    }[kind]()
    match = "adaption prompt computes an attention of its own" if kind == "adaption" else "past_key_values is a Dynamic"
    with pytest.raises((TypeError, ValueError), match=match):
        logits(put_on(port, config))
    assert is_merged(port) and torch.equal(logits(port), want)


def test_all_seven_are_seen_where_all_linears_are_asked_for(pairs):
    _, port = pairs("llama")
    tuned = put_on(port, lora("all-linear"))
    assert {name.rpartition(".")[2] for name in tuned.targeted_module_names} == {*SEVEN}

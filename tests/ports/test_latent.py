"""Ports with latent attention compute what their source does, out of a cache no larger than its latents."""

from __future__ import annotations

import pytest
import torch

from porter.emit import emit
from porter.parallel import CannotShard, shard
from porter.runtime import StaticKVCache
from porter.verify.pair import NpuOps, Pair, load, relative, write_checkpoint
from porter.verify.port import Port, open_to_compare
from porter.verify.tiny import tiny_config
from tests.engine.sources import port_of

FUSED, TURNED = "npu_fused_infer_attention_score", "npu_interleave_rope"
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
    "mscale": 0.7,
    "mscale_all_dim": 0.9,
}
PUBLISHED = {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
MODELS = {
    "deepseek_v3": ("deepseek_v3", {}),
    "queries of no bottleneck": ("deepseek_v3", {"q_lora_rank": None}),
    "biases": ("deepseek_v3", {"attention_bias": True}),
    "halves turned": ("deepseek_v3", {"rope_interleave": False}),
    "yarn": ("deepseek_v3", {"rope_parameters": YARN}),
    "wide values": ("deepseek_v3", {"v_head_dim": 40}),
    "widths as published": ("deepseek_v3", PUBLISHED),
    "turned by complex numbers": ("deepseek_v2", {}),
    "by complex numbers, yarn": ("deepseek_v2", {"rope_parameters": YARN, "q_lora_rank": None}),
    "by complex numbers, groups": (
        "deepseek_v2",
        {"topk_method": "group_limited_greedy", "n_group": 2, "topk_group": 1, "num_experts": 8},
    ),
    "glm4_moe_lite": ("glm4_moe_lite", {}),
    "minicpm3": ("minicpm3", {}),
    "youtu": ("youtu", {}),
}


def loaded(name, folder, dtype=torch.float32) -> Pair:
    model, changes = MODELS[name]
    emit(port_of(model), folder / "port")
    port = open_to_compare(folder / "port")
    assert isinstance(port, Port), port
    source_class = port.load_source_class()
    config = tiny_config(source_class.config_class, **changes)
    write_checkpoint(source_class, config, folder / "checkpoint")
    source, ported = (load(kind, folder / "checkpoint").to(dtype) for kind in (source_class, port.load_class()))
    return Pair(source, ported, config, folder)


@pytest.fixture(scope="module", params=MODELS)
def pair(request, tmp_path_factory) -> Pair:
    return loaded(request.param, tmp_path_factory.mktemp("port"))


@pytest.fixture(scope="module")
def deepseek(tmp_path_factory) -> Pair:
    return loaded("deepseek_v3", tmp_path_factory.mktemp("port"))


def stepwise(model, batch, steps):
    """The logits of a run in steps of so many tokens, (B, S, V), and the cache."""
    found, cache, seen = [], None, 0
    with torch.no_grad():
        for step in steps:
            here = slice(seen, seen + step)
            seen += step
            given = {name: value[:, here] for name, value in batch.items() if name != "attention_mask"}
            if "attention_mask" in batch:
                given["attention_mask"] = batch["attention_mask"][:, :seen]
            out = model(**given, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            found.append(out.logits)
    return torch.cat(found, 1), cache


STEPS = {"at once": (12,), "chunks": (5, 4, 3), "decode": (9, 1, 1, 1), "one by one": (1,) * 12}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("padded", [False, True], ids=["unpadded", "left padding"])
def test_logits_are_the_source_s(pair, steps, padded):
    batch = pair.padded((5, 12)) if padded else {"input_ids": pair.prompts(2, 12)}
    truth, _ = stepwise(pair.source, batch, (12,))
    found, _ = stepwise(pair.port, batch, steps)
    if padded:
        real = batch["attention_mask"].bool()
        found, truth = found[real], truth[real]
    assert relative(found, truth) < 1e-5


def test_the_cache_is_what_the_source_s_latents_take(pair):
    batch = {"input_ids": pair.prompts(2, 12)}
    (_, source), (_, port) = (stepwise(model, batch, (12,)) for model in (pair.source, pair.port))
    for theirs, ours in zip(source.layers, port.layers, strict=True):
        for name in ("keys", "values"):
            states, held = getattr(theirs, name), getattr(ours, name)[:, :12]
            assert relative(held.transpose(1, 2), states) < 1e-5
    config = pair.config
    numbers = config.num_hidden_layers * 2 * port.layers[0].slots() * (config.kv_lora_rank + config.qk_rope_head_dim)
    assert isinstance(port, StaticKVCache) and port.nbytes == 4 * numbers


def test_one_token_reads_latents_and_several_are_one_kernel(pair):
    with NpuOps() as prefill:
        _, cache = stepwise(pair.port, {"input_ids": pair.prompts(2, 12)}, (12,))
    with NpuOps() as decode, torch.no_grad():
        pair.port(pair.prompts(2, 1), past_key_values=cache, use_cache=True)
    layers = pair.config.num_hidden_layers
    is_of_the_op = (pair.config.kv_lora_rank, pair.config.qk_rope_head_dim) == (512, 64)  # its own absorbed form
    assert prefill.calls[FUSED] == layers and decode.calls[FUSED] == (layers if is_of_the_op else 0)


def doubled(linear):
    linear.register_forward_hook(lambda module, given, out: 2 * out)


def test_a_hook_on_the_expansion_counts_in_decode_too(tmp_path):
    pair = loaded("deepseek_v3", tmp_path)
    batch = {"input_ids": pair.prompts(2, 12)}
    plain, _ = stepwise(pair.port, batch, STEPS["decode"])
    for model in (pair.source, pair.port):
        for layer in model.model.layers:
            doubled(layer.self_attn.kv_b_proj)
    (truth, _), (found, _) = (stepwise(model, batch, STEPS["decode"]) for model in (pair.source, pair.port))
    assert relative(found, truth) < 1e-5 < relative(plain, truth)


def test_adapters_on_the_projections_count(tmp_path):
    from peft import LoraConfig, inject_adapter_in_model

    pair = loaded("deepseek_v3", tmp_path)
    batch, targets = {"input_ids": pair.prompts(2, 12)}, ["q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]
    plain, _ = stepwise(pair.port, batch, STEPS["decode"])
    answers = []
    for model in (pair.source, pair.port):
        torch.manual_seed(0)
        inject_adapter_in_model(LoraConfig(target_modules=targets, init_lora_weights=False), model)
        answers.append(stepwise(model.eval(), batch, STEPS["decode"])[0])
    assert relative(answers[1], answers[0]) < 1e-5 < relative(plain, answers[0])


def test_64_channels_in_16_bits_turn_by_one_kernel_a_tensor(tmp_path):
    pair = loaded("widths as published", tmp_path, torch.bfloat16)
    with NpuOps() as ops:
        stepwise(pair.port, {"input_ids": pair.prompts(2, 9)}, (9,))
    assert ops.calls[TURNED] == 2 * pair.config.num_hidden_layers


def test_ranks_do_not_divide_what_nobody_has_shown_to_divide(pair):
    """With another layer's outputs than the port's own nothing is divided, and what is refused is as it was."""
    before = {name: value.clone() for name, value in pair.port.state_dict().items()}
    layer = type(pair.port.model.layers[0]).__name__
    with pytest.raises(CannotShard, match=r"nothing (says how to split|sums over ranks what comes of) `"):
        shard(pair.port, ("modeling", layer, ("mlp.down_proj",)), world_size=2)
    after = pair.port.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_wrong_scale_would_be_seen(deepseek):
    batch = {"input_ids": deepseek.prompts(2, 12)}
    truth, _ = stepwise(deepseek.source, batch, (12,))
    attentions = [layer.self_attn for layer in deepseek.port.model.layers]
    for steps in ((12,), STEPS["one by one"]):
        for module in attentions:
            module.scaling *= 1.2
        found, _ = stepwise(deepseek.port, batch, steps)
        for module in attentions:
            module.scaling /= 1.2
        assert relative(found, truth) > 1e-4

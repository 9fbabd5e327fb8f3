"""Merged projections: an original checkpoint in, the same bits out, and nobody else's loading changed."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM as SourceLlama
from transformers import conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.modeling_utils import LoadStateDictConfig

from porter.runtime import RowMerge
from porter.runtime.weights import merge_converters
from tests.error_rule import model_roundings, no_further, truth_of
from tests.runtime.toy_port import LlamaForCausalLM, LlamaModel, source_and_port, tiny_config

KINDS = {
    "grouped heads": {},
    "equal heads": {"num_key_value_heads": 4},
    "one kv head": {"num_key_value_heads": 1},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "tied embeddings": {"tie_word_embeddings": True},
    "head_dim unlike hidden / heads": {"head_dim": 24},
}


def tensors(folder):
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def write_checkpoint(folder, state, config):
    folder.mkdir()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shard", ["50GB", "20KB"])
def test_a_checkpoint_comes_back_bit_for_bit(kind, shard, tmp_path):
    source, _ = source_and_port(**KINDS[kind])
    source.save_pretrained(tmp_path / "source", max_shard_size=shard)
    assert len(list((tmp_path / "source").glob("*.safetensors"))) > (1 if shard == "20KB" else 0)
    port, info = LlamaForCausalLM.from_pretrained(tmp_path / "source", output_loading_info=True)
    assert not any(info.values())
    assert {"qkv", "o_proj"} == {name for name, _ in port.model.layers[0].self_attn.named_children()}
    port.save_pretrained(tmp_path / "port", max_shard_size=shard)
    assert_same(tensors(tmp_path / "source"), tensors(tmp_path / "port"))
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("source", "port")]
    assert configs[0] == configs[1] and configs[1]["architectures"] == ["LlamaForCausalLM"]
    assert_same(SourceLlama.from_pretrained(tmp_path / "port").state_dict(), source.state_dict())


def test_a_port_built_from_a_config_saves_the_original_layout(tmp_path):
    port = LlamaForCausalLM(tiny_config()).eval()
    port.save_pretrained(tmp_path)
    source = SourceLlama.from_pretrained(tmp_path).eval()
    ids = torch.tensor([[3, 4, 5]])
    no_further(port(ids).logits, source(ids).logits, truth_of(source)(ids).logits, model_roundings(source.config, 3))


def test_the_base_model_and_the_causal_model_load_each_other(tmp_path):
    source, _ = source_and_port()
    source.save_pretrained(tmp_path / "causal")
    base = LlamaModel.from_pretrained(tmp_path / "causal")
    base.save_pretrained(tmp_path / "base")
    assert_same(tensors(tmp_path / "base"), source.model.state_dict())
    _, info = LlamaForCausalLM.from_pretrained(tmp_path / "base", output_loading_info=True)
    assert info["missing_keys"] == {"lm_head.weight"} and not info["unexpected_keys"]


def test_the_merged_layout_loads_and_is_saved_in_the_original_one(tmp_path):
    source, port = source_and_port()
    port.save_pretrained(tmp_path / "merged", save_original_format=False)
    assert "model.layers.0.self_attn.qkv.weight" in tensors(tmp_path / "merged")
    LlamaForCausalLM.from_pretrained(tmp_path / "merged").save_pretrained(tmp_path / "original")
    assert_same(tensors(tmp_path / "original"), source.state_dict())


def test_a_key_mapping_of_the_user_comes_first(tmp_path):
    source, _ = source_and_port()
    renamed = {f"old.{name}": tensor.clone() for name, tensor in source.state_dict().items()}
    write_checkpoint(tmp_path / "old", renamed, source.config)
    port, info = LlamaForCausalLM.from_pretrained(
        tmp_path / "old", key_mapping={r"^old\.": ""}, output_loading_info=True
    )
    assert not any(info.values())
    assert torch.equal(port.model.layers[2].mlp.gate_up.weight[:48], source.model.layers[2].mlp.gate_proj.weight)


def test_conversions_of_the_source_model_apply_to_its_port(tmp_path, monkeypatch):
    source, _ = source_and_port()
    conversion_mapping.get_checkpoint_conversion_mapping("llama")  # fills the table
    table = conversion_mapping._checkpoint_conversion_mapping_cache
    monkeypatch.setitem(table, "llama", [WeightRenaming("attention.", "self_attn.")])
    old = {name.replace("self_attn.", "attention."): tensor.clone() for name, tensor in source.state_dict().items()}
    write_checkpoint(tmp_path / "old", old, source.config)
    port, info = LlamaForCausalLM.from_pretrained(tmp_path / "old", output_loading_info=True)
    assert not any(info.values())
    port.save_pretrained(tmp_path / "again")
    assert_same(tensors(tmp_path / "again"), old)
    LlamaForCausalLM(source.config).save_pretrained(tmp_path / "new")
    assert tensors(tmp_path / "new").keys() == old.keys()


def test_a_checkpoint_without_k_is_an_error_not_a_random_projection(tmp_path):
    source, _ = source_and_port()
    state = {name: tensor for name, tensor in source.state_dict().items() if "layers.1.self_attn.k_proj" not in name}
    write_checkpoint(tmp_path / "torn", state, source.config)
    with pytest.raises(RuntimeError, match=r"lacks model\.layers\.1\.self_attn\.k_proj\.weight"):
        LlamaForCausalLM.from_pretrained(tmp_path / "torn")


def test_the_source_class_loads_as_if_there_were_no_port(tmp_path):
    source, _ = source_and_port()
    source.save_pretrained(tmp_path / "source")
    before = copy.deepcopy(conversion_mapping.get_model_conversion_mapping(source))
    LlamaForCausalLM.from_pretrained(tmp_path / "source").save_pretrained(tmp_path / "port")
    assert conversion_mapping.get_checkpoint_conversion_mapping("LlamaForCausalLM") is None
    assert conversion_mapping.get_checkpoint_conversion_mapping("llama") is None
    assert not conversion_mapping.USER_REGISTERED_MAPPINGS
    after = SourceLlama.from_pretrained(tmp_path / "source")
    assert_same(after.state_dict(), source.state_dict())
    assert str(conversion_mapping.get_model_conversion_mapping(after)) == str(before)
    assert not after._weight_conversions


def test_a_state_dict_of_the_source_or_of_the_port_loads():
    source, port = source_and_port(attention_bias=True)
    other = LlamaForCausalLM(port.config)
    other.load_state_dict(source.state_dict())
    assert_same(other.state_dict(), port.state_dict())
    other.load_state_dict(port.state_dict())
    torn = {name: tensor for name, tensor in source.state_dict().items() if "layers.0.self_attn.v_proj" not in name}
    with pytest.raises(RuntimeError, match=r"(?s)Missing.*layers.0.self_attn.qkv.weight.*Unexpected.*q_proj.weight"):
        other.load_state_dict(torn)


def test_a_layer_of_the_same_name_that_the_source_has_stays_whole(tmp_path):
    """A vision tower may have a `self_attn.qkv` of its own: nothing merged it, so nothing splits it."""

    class Tower(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.self_attn = torch.nn.Module()
            self.self_attn.qkv = torch.nn.Linear(4, 12)

    class WithTower(LlamaForCausalLM):
        def __init__(self, config):
            super().__init__(config)
            self.tower = Tower()

    source, _ = source_and_port()
    state = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    state |= {"tower.self_attn.qkv.weight": torch.randn(12, 4), "tower.self_attn.qkv.bias": torch.randn(12)}
    write_checkpoint(tmp_path / "in", state, source.config)
    port, info = WithTower.from_pretrained(tmp_path / "in", output_loading_info=True)
    assert not any(info.values())
    port.save_pretrained(tmp_path / "out")
    assert_same(tensors(tmp_path / "out"), state)


def test_dtype_and_random_weights():
    port = LlamaForCausalLM._from_config(tiny_config(), dtype=torch.bfloat16)
    qkv = port.model.layers[0].self_attn.qkv.weight
    assert qkv.dtype == torch.bfloat16 and abs(qkv.float().std() - 0.2) < 0.02


@pytest.mark.parametrize("argument", [{"tp_plan": "auto"}, {"tp_size": 2}, {"distributed_config": object()}])
def test_transformers_own_sharding_is_refused(argument):
    with pytest.raises(ValueError, match="injection policy"):
        LlamaForCausalLM.from_pretrained("anywhere", **argument)


def test_a_quantized_checkpoint_is_refused():
    _, port = source_and_port()
    with pytest.raises(ValueError, match="scales per projection"):
        LlamaForCausalLM._load_pretrained_model(port, {}, None, LoadStateDictConfig(hf_quantizer=object()))


def test_converters_name_the_module_they_are_in():
    patterns = {tuple(c.source_patterns): c.target_patterns[0] for c in merge_converters(source_and_port()[1])}
    assert patterns == {
        ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"): "self_attn.qkv.weight",
        ("mlp.gate_proj.weight", "mlp.up_proj.weight"): "mlp.gate_up.weight",
    }
    assert not merge_converters(source_and_port()[0])


def test_parts_without_sizes_are_equal():
    merge, rows = RowMerge("gate_up", ("gate_proj", "up_proj")), torch.arange(12.0).view(6, 2)
    assert [part.tolist() for part in merge.split(torch.nn.Module(), rows)] == [rows[:3].tolist(), rows[3:].tolist()]

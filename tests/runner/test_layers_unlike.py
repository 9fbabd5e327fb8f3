"""Layers of several sizes, some of which read an earlier one's keys and values: the runner answers as the source."""

import pytest
import torch
from transformers import AutoTokenizer, Gemma4ForCausalLM, Gemma4TextConfig

from porter.emit import Written, emit
from porter.runner import LlmModelRunner
from porter.runner.room import _numbers_a_token
from porter.runtime import StaticKVCache
from porter.verify.port import Port, open_to_compare
from porter.verify.tiny import tiny_config
from tests.engine.sources import port_of
from tests.error_rule import model_roundings, surely_chosen
from tests.runner.reference import LENGTHS, PROMPTS, tokenizer_of, tokens

KINDS = ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "full_attention"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    assert isinstance(emit(port_of("gemma4"), root / "gemma4"), Written)
    return root


def config_of(vocabulary):
    return tiny_config(
        Gemma4TextConfig,
        vocab_size=vocabulary,
        vocab_size_per_layer_input=vocabulary,
        num_hidden_layers=5,
        layer_types=[*KINDS],
        num_kv_shared_layers=2,
        sliding_window=4,
        global_head_dim=32,
        num_global_key_value_heads=1,
        attention_k_eq_v=True,
    )


@pytest.fixture(scope="module")
def sharing(tmp_path_factory, checkpoint):
    folder = tmp_path_factory.mktemp("gemma4")
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)
    torch.manual_seed(0)
    model = Gemma4ForCausalLM(config_of(len(tokenizer_of(checkpoint))))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return folder


def of_the_source(folder, steps):
    """Each prompt alone, greedily; that no choice is a toss-up is asserted."""
    model, rows = Gemma4ForCausalLM.from_pretrained(folder, dtype=torch.float32), []
    asked = {"do_sample": False, "max_new_tokens": steps, "return_dict_in_generate": True, "output_logits": True}
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer_of(folder)(prompt)["input_ids"]])
        output = model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=1, **asked)
        roundings = model_roundings(model.config.per_layer_config[-1], output.sequences.shape[1])  # the widest layer
        surely_chosen(torch.stack(output.logits), roundings)
        rows.append(tuple(output.sequences[0, ids.shape[1] :].tolist()))
    return rows


@pytest.mark.parametrize("mode, padding", [("eager", False), ("eager", True), ("dynamo", True)])
def test_a_batch_of_unequal_prompts_answers_as_the_source_does_one_by_one(models, sharing, mode, padding):
    made = LlmModelRunner("gemma4", sharing, models=models, backend="eager", input_padding=padding, **LENGTHS)
    made.execute_mode = mode
    assert tokens(made.execute_model(PROMPTS)) == of_the_source(sharing, LENGTHS["max_new_tokens"])


def test_the_room_that_is_asked_for_is_what_layers_of_several_sizes_take(models):
    port = open_to_compare(models / "gemma4")
    assert isinstance(port, Port), port
    config = config_of(128)
    model, cache = port.load_class()._from_config(config).eval(), StaticKVCache(config, 32)
    model(torch.arange(3, 7)[None], past_key_values=cache, use_cache=True)
    assert cache.nbytes == 32 * 4 * _numbers_a_token(config) > 0

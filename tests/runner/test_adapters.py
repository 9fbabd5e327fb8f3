"""The runner with an adapter: answers are those of the source with it alive; what cannot be merged is refused early."""

import json
import shutil
import sys

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from porter.parallel import CannotShard, shard
from porter.runner import CannotRun, LlmModelRunner
from tests.parallel import tiny
from tests.runtime.adapter_kinds import KINDS, RARER, SEVEN, load_on, lora, put_on, write_adapter

PROMPTS = ["def parse(text):", "Where", "return the tree, and the positions of its nodes"]


@pytest.fixture
def adapted(checkpoint, tmp_path):
    """Writes an adapter of the checkpoint; gives its folder and the tokens of the source with it, not merged."""

    def make(config, **options):
        source = LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        folder = tmp_path / "adapter"
        tuned = write_adapter(source, config, folder, **options)
        tokenizer, rows = AutoTokenizer.from_pretrained(checkpoint), []
        for prompt in PROMPTS:
            inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
            tokens = tuned.generate(**inputs, max_new_tokens=12, pad_token_id=0, do_sample=False)
            rows.append(tuple(tokens[0, inputs["input_ids"].shape[1] :].tolist()))
        return folder, rows

    return make


def refusal(runner, folder, **config):
    made = runner(adapter=folder, **config)
    with pytest.raises(CannotRun) as caught:
        made.execute_model(PROMPTS)
    assert made.model is None  # no weights were read
    return caught.value.diagnostic


MERGED = ["LoRA on all seven", "LoRA on q and v", "DoRA", "rank-stabilized LoRA", "PiSSA", "IA3", "LoKr", "norms"]
MERGED += ["VBLoRA", "LoRA and saved modules", "LoRA and trained tokens", "LoRA on embeddings and head"]


@pytest.mark.parametrize("kind", MERGED)
def test_answers_are_those_of_the_source_with_the_adapter(runner, adapted, kind):
    plain = [answer.token_ids for answer in runner().execute_model(PROMPTS)]
    folder, expected = adapted((KINDS | RARER)[kind]())
    answers = runner(adapter=folder).execute_model(PROMPTS)
    assert [answer.token_ids for answer in answers] == expected != plain


def test_compiled_steps_take_it_too(runner, adapted):
    folder, expected = adapted(lora())
    made = runner(adapter=str(folder), backend="eager", input_padding=True, input_max_len=40)
    made.execute_mode = "dynamo"
    assert [answer.token_ids for answer in made.execute_model(PROMPTS)] == expected
    names = {name.rpartition(".")[2] for name, _ in made.model.named_modules()}
    assert {"qkv", "gate_up"} <= names and not {"q_proj", "base_layer"} & names


def test_a_loaded_model_keeps_its_adapter(runner, adapted):
    folder, expected = adapted(lora())
    made = runner(adapter=folder)
    made.execute_model(PROMPTS)
    assert [answer.token_ids for answer in made.execute_model(PROMPTS)] == expected
    with pytest.raises(ValueError, match="make a new runner for another adapter"):
        made.execute_model(PROMPTS, adapter=None)


@pytest.mark.parametrize("spoil", ["no folder", "no configuration", "no weights"])
def test_a_folder_that_is_no_adapter(runner, adapted, spoil):
    folder, _ = adapted(lora())
    if spoil == "no folder":
        shutil.rmtree(folder)
    else:
        (folder / ("adapter_config.json" if spoil == "no configuration" else "adapter_model.safetensors")).unlink()
    diagnostic = refusal(runner, folder)
    assert diagnostic.code == "P094" and "is no adapter" in diagnostic.message


@pytest.mark.parametrize("text", ["not json", "[]", "{}", '{"peft_type": "NEW"}', '{"peft_type": "LORA", "r": "x"}'])
def test_a_configuration_that_cannot_be_read(runner, adapted, text):
    folder, _ = adapted(lora())
    (folder / "adapter_config.json").write_text(text)
    assert refusal(runner, folder).code in ("P094", "P095")


def test_weights_that_cannot_be_read(runner, adapted):
    folder, _ = adapted(lora())
    (folder / "adapter_model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert refusal(runner, folder).code == "P095"


@pytest.mark.parametrize("changes", [{"hidden_size": 128}, {"num_hidden_layers": 4}, {"head_dim": 32}], ids=str)
def test_an_adapter_of_a_model_of_other_shapes(runner, checkpoint, changes, tmp_path):
    config = LlamaConfig.from_pretrained(checkpoint, **changes)
    write_adapter(LlamaForCausalLM(config), lora(), tmp_path / "adapter")
    diagnostic = refusal(runner, tmp_path / "adapter")
    assert diagnostic.code == "P095" and "does not fit the checkpoint" in diagnostic.message


def test_an_adapter_whose_file_lacks_layers(runner, checkpoint, tmp_path):
    config = LlamaConfig.from_pretrained(checkpoint, num_hidden_layers=1)
    write_adapter(LlamaForCausalLM(config), lora(), tmp_path / "adapter")
    diagnostic = refusal(runner, tmp_path / "adapter")
    assert diagnostic.code == "P095" and "14 tensors are missing" in diagnostic.notes[0]


def test_an_adapter_whose_file_lacks_what_its_layers_share(runner, adapted):
    """VB-LoRA's bank of vectors stands in the file once, for all layers."""
    folder, _ = adapted(RARER["VBLoRA"]())
    weights = load_file(folder / "adapter_model.safetensors")
    whole = {name: tensor for name, tensor in weights.items() if "vector_bank" not in name}
    assert len(whole) == len(weights) - 1
    save_file(whole, folder / "adapter_model.safetensors")
    diagnostic = refusal(runner, folder)
    assert diagnostic.code == "P095" and "vector_bank" in diagnostic.notes[0]


def test_an_adapter_of_other_names(runner, adapted):
    folder, _ = adapted(lora())
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "target_modules": ["W_pack"]}))
    assert "not found in the base model" in refusal(runner, folder).message


@pytest.mark.parametrize(("entries", "known"), [({"new_way": 1}, False), ({"enable_lora": None, "odd": []}, True)])
def test_an_entry_that_peft_would_drop(runner, adapted, entries, known):
    folder, expected = adapted(lora())
    written = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**written, **entries, "peft_version": "99.0"}))
    if known:
        answers = runner(adapter=folder).execute_model(PROMPTS)
        assert [answer.token_ids for answer in answers] == expected
        return
    diagnostic = refusal(runner, folder)
    assert diagnostic.code == "P094" and "new_way" in diagnostic.message


NOT_MERGED = {
    "a prompt": (KINDS["a prompt"], "PROMPT_TUNING adds to the prompt"),
    "a prefix": (lambda: peft.PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"), "PREFIX_TUNING adds"),
    "adaption": (
        lambda: peft.AdaptionPromptConfig(adapter_len=4, adapter_layers=2, task_type="CAUSAL_LM"),
        "ADAPTION_PROMPT adds",
    ),
    "layers repeated": (lambda: lora(layer_replication=[(0, 2), (1, 2)]), "changes the layers"),
    "biases of its own": (KINDS["LoRA with biases of its own"], "lora_bias"),
    "a shadow": (RARER["a shadow"], "cannot be merged into the base model"),
    "HiRA": (RARER["HiRA"], "whose weights are not read yet"),
    "SHiRA": (RARER["SHiRA"], "whose weights are not read yet"),
    "WaveFT": (RARER["WaveFT"], "whose weights are not read yet"),
    "activated": (lambda: lora(alora_invocation_tokens=[5, 6], task_type="CAUSAL_LM"), "does not support merging"),
}


@pytest.mark.parametrize("kind", NOT_MERGED)
def test_a_kind_that_cannot_be_merged_exactly(runner, checkpoint, kind, tmp_path):
    make, reason = NOT_MERGED[kind]
    write_adapter(LlamaForCausalLM.from_pretrained(checkpoint), make(), tmp_path / "adapter")
    diagnostic = refusal(runner, tmp_path / "adapter")
    assert diagnostic.code == "P096" and reason in diagnostic.message


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_an_adapter_on_a_tied_weight(runner, damaged, checkpoint, target, tmp_path):
    config = LlamaConfig.from_pretrained(checkpoint, tie_word_embeddings=True)
    source = LlamaForCausalLM(config)
    source.save_pretrained(damaged, max_shard_size="100KB")
    write_adapter(source, lora([target, "q_proj"]), tmp_path / "adapter")
    diagnostic = refusal(runner, tmp_path / "adapter", model_path=damaged)
    assert diagnostic.code == "P096" and "embed_tokens and lm_head share a weight" in diagnostic.message


def test_peft_is_needed_for_an_adapter_only(runner, adapted, monkeypatch):
    folder, _ = adapted(lora())
    monkeypatch.setitem(sys.modules, "peft", None)
    diagnostic = refusal(runner, folder)
    assert diagnostic.code == "P094" and "pip install 'porter[adapters]'" in diagnostic.help
    assert runner().execute_model(PROMPTS)


def test_it_is_in_the_weights_before_they_are_split_over_ranks(runner, adapted, checkpoint):
    """What `shard_model` gets on every rank is what the source is with the adapter merged."""
    folder, _ = adapted(lora())
    seen = []

    class Split(LlmModelRunner):
        def shard_model(self, model):
            seen.append(model.model.layers[1].self_attn.qkv.weight.detach().clone())
            return super().shard_model(model)

    runner(kind=Split, adapter=folder).execute_model(PROMPTS[:1])
    merged = load_on(LlamaForCausalLM.from_pretrained(checkpoint), folder).merge_and_unload()
    attention = merged.model.layers[1].self_attn
    rows = [part.weight for part in (attention.q_proj, attention.k_proj, attention.v_proj)]
    assert torch.equal(seen[0], torch.cat(rows))


@pytest.mark.parametrize("targets", [SEVEN, ["o_proj"]], ids=["all seven", "o_proj"])
@pytest.mark.parametrize("around", [False, True], ids=["on it", "around it"])
def test_a_model_with_an_adapter_is_not_split_over_ranks(around, targets):
    port = tiny.port()
    put_on(torch.nn.ModuleList([port]) if around else port, lora(targets))
    with pytest.raises(CannotShard, match="merge them into the weights first"):
        shard(port, "llama2", 2)

"""The runner: prompts in, answers out, equal to transformers' own; bad input is refused before weights are read."""

import json
import logging

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from porter.runner import Answers, CannotRun, LlmModelRunner
from porter.runner.devices import choose_device
from porter.runner.settings import Settings

PROMPTS = ["def parse(text):", "Where", "return the tree, and the positions of its nodes"]


def source_tokens(checkpoint, prompt, steps, **options):
    """What the unported model generates for one prompt, alone."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
    tokens = model.generate(**inputs, max_new_tokens=steps, pad_token_id=0, **options)
    return tuple(tokens[0, inputs["input_ids"].shape[1] :].tolist())


@pytest.mark.parametrize("config", [{}, {"input_padding": True, "input_max_len": 40}, {"warm_up": True}])
def test_a_batch_of_unequal_prompts_answers_as_the_source_does_one_by_one(runner, checkpoint, config):
    answers = runner(**config).execute_model(PROMPTS)
    assert isinstance(answers, Answers) and len(answers) == 3
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    for answer, prompt in zip(answers, PROMPTS, strict=True):
        expected = source_tokens(checkpoint, prompt, 12, do_sample=False)
        assert answer.token_ids == expected and answer.prompt == prompt
        assert answer.text == tokenizer.decode(expected, skip_special_tokens=True)
    assert len({answer.token_ids for answer in answers}) == 3
    assert answers.texts == tuple(answer.text for answer in answers)


def test_times_are_given_and_a_single_token_has_no_following_step(runner):
    answers = runner().execute_model(PROMPTS)
    assert answers.prefill_ms > 0 and answers.ms_per_token > 0 and answers.tokens_per_second > 0
    single = runner().execute_model(PROMPTS[0], max_new_tokens=1)
    assert len(single) == 1 and len(single[0].token_ids) == 1
    assert single.ms_per_token is None and single.tokens_per_second is None


def test_sampling_is_the_sources_and_repeats_with_a_seed(runner, checkpoint):
    config = {"do_sample": True, "temperature": 0.8, "top_k": 20, "top_p": 0.9}
    one = runner(**config, seed=5).execute_model(PROMPTS[:1])
    made = runner(**config)
    assert made.execute_model(PROMPTS[:1], seed=5)[0] == one[0]
    assert made.execute_model(PROMPTS[:1], seed=6)[0] != one[0]
    torch.manual_seed(5)
    assert source_tokens(checkpoint, PROMPTS[0], 12, **config) == one[0].token_ids


def test_answers_end_with_the_token_that_stops_them(runner):
    made = runner()
    first = made.execute_model(PROMPTS)
    stop = first[1].token_ids[4]
    made.model.generation_config.eos_token_id = stop
    again = made.execute_model(PROMPTS)
    assert again[1].token_ids == first[1].token_ids[: first[1].token_ids.index(stop) + 1]


def test_the_cache_is_allocated_once_and_as_long_as_needed(runner):
    made = runner(input_padding=True, input_max_len=40)
    first = made.execute_model(PROMPTS)
    cache, place = made._kept.cache, made._kept.cache.layers[0].keys.data_ptr()
    assert cache.max_cache_len == 52
    assert cache.nbytes == 2 * 2 * 3 * 52 * 2 * 16 * 4  # K and V x layers x batch x slots x kv heads x head_dim x bytes
    second = made.execute_model(PROMPTS[::-1])
    assert made._kept.cache is cache and made._kept.cache.layers[0].keys.data_ptr() == place
    assert second.rows == first.rows[::-1]  # nothing of the first batch is left in it
    made.execute_model(PROMPTS[:1])
    assert made._kept.cache is not cache


def test_dtype_is_the_checkpoints_or_the_given_one(runner):
    made = runner(dtype=torch.bfloat16)
    made.execute_model(PROMPTS[:1], max_new_tokens=2)
    assert made.model.dtype == torch.bfloat16 and made._kept.cache.layers[0].keys.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="another dtype"):
        made.execute_model(PROMPTS[:1], dtype=torch.float16)
    plain = runner()
    plain.init_model()
    assert plain.model.dtype == torch.float32 and plain.device.type == "cpu"


def test_modes(runner, monkeypatch):
    made = runner()
    assert made.execute_mode == "eager"
    with pytest.raises(ValueError, match="eager or dynamo, not 'graph'"):
        made.execute_mode = "graph"
    made.set_npu_config(jit_compile=False)
    monkeypatch.setenv("EXE_MODE", "dynamo")
    monkeypatch.setenv("INPUT_PADDING", "True")
    old_script = runner()
    assert old_script.execute_mode == "dynamo" and old_script.settings.input_padding
    assert not runner(input_padding=False).settings.input_padding


def test_single_steps_can_be_overridden(runner):
    class Shouting(LlmModelRunner):
        def tokenize(self, prompts, settings):
            return super().tokenize([prompt.upper() for prompt in prompts], settings)

        def report(self, answers):
            self.reported = answers

    made = runner(kind=Shouting)
    answers = made.execute_model(["where"])
    assert made.reported is answers
    assert answers[0].token_ids == runner().execute_model(["WHERE"])[0].token_ids


def test_answers_are_logged(runner, caplog):
    with caplog.at_level(logging.INFO, logger="porter.runner"):
        answers = runner().execute_model(PROMPTS[:1])
    assert PROMPTS[0] + answers.texts[0] in caplog.messages and "prefill" in caplog.text


@pytest.mark.parametrize(
    ("prompts", "said"),
    [([], "no prompts"), ([""], "prompt 0"), (["ok", ""], "prompt 1"), (["ok", None], "prompt 1")],
)
def test_bad_prompts_are_refused_before_loading(runner, prompts, said):
    made = runner()
    with pytest.raises(CannotRun, match=said):
        made.execute_model(prompts)
    assert made.model is None


def test_a_prompt_longer_than_the_input_is_refused(runner):
    with pytest.raises(CannotRun, match=r"prompt 1 has \d+ tokens, input_max_len is 8") as refused:
        runner(input_max_len=8).execute_model(["a", PROMPTS[2]])
    assert refused.value.diagnostic.code == "P085"


def test_an_unknown_model_names_the_known_ones(models_folder, checkpoint):
    with pytest.raises(CannotRun, match="llama2"):
        LlmModelRunner("lama2", checkpoint, models=models_folder)


def test_an_unknown_setting_names_the_close_one(runner):
    with pytest.raises(TypeError, match="max_new_tokens"):
        runner(max_new_token=3)
    with pytest.raises(ValueError, match="at least 1"):
        runner(max_new_tokens=0)
    assert Settings().updated(top_k=3).top_k == 3


def spoil_config(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


SPOILED = {
    "no folder": (lambda folder: folder.rename(folder.with_name("moved")), "P081", "no checkpoint folder"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "P081", "config.json"),
    "config is cut": (lambda folder: (folder / "config.json").write_text('{"a'), "P081", "config.json"),
    "another model": (lambda folder: spoil_config(folder, model_type="qwen2"), "P083", "qwen2"),
    "another head": (lambda folder: spoil_config(folder, architectures=["LlamaForX"]), "P083", "LlamaForX"),
    "no shard": (lambda folder: next(folder.glob("model-*-of-*")).unlink(), "P084", "lacks 1 of"),
    "no weights": (lambda folder: [file.unlink() for file in folder.glob("model*")], "P084", "has no weights"),
    "no tokenizer": (lambda folder: [file.unlink() for file in folder.glob("token*")], "P082", "no tokenizer"),
    "tokenizer is cut": (lambda folder: (folder / "tokenizer.json").write_text("{"), "P082", "does not load"),
}


@pytest.mark.parametrize("damage", SPOILED)
def test_a_checkpoint_that_cannot_run_is_refused_before_loading(runner, damaged, monkeypatch, damage):
    spoil, code, said = SPOILED[damage]
    spoil(damaged)
    made = runner(damaged)
    monkeypatch.setattr(made, "load_model", lambda: pytest.fail("weights were read"))
    with pytest.raises(CannotRun, match=said) as refused:
        made.execute_model(PROMPTS)
    assert refused.value.diagnostic.code == code and refused.value.diagnostic.help


def test_a_device_is_taken_by_choice_or_by_availability(monkeypatch):
    there = {"cpu": 1, "cuda": 0, "npu": 0}
    monkeypatch.setattr("porter.runner.devices._count", there.get)
    assert choose_device("cpu") == choose_device(None) == choose_device(torch.device("cpu")) == torch.device("cpu")
    for missing in ("cuda:1", "cuda", "npu:0"):
        with pytest.raises(CannotRun, match=f"device `{missing}` is not there"):
            choose_device(missing)
    for unknown in ("gpu", "mps", "meta", "cuda:x"):
        with pytest.raises(CannotRun, match=f"no device `{unknown}`"):
            choose_device(unknown)
    there["cuda"] = 2
    assert choose_device(None) == torch.device("cuda") and choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(CannotRun, match="device `cuda:2` is not there"):
        choose_device("cuda:2")

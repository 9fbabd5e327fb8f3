"""Scripts as users of the hand ports have them, with the import alone changed, answer as the source does."""

import logging
import shutil
import types

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from porter.runner import CannotRun, LlmModelRunner
from porter.runner.ranks import Place
from tests.runner.reference import PROMPTS, source_rows

LENGTHS = {"input_max_len": 40, "max_new_tokens": 8}
MODES = ("eager", "dynamo")

PLAIN = """
import os
import logging
import torch
from porter.runner import LlmModelRunner

logging.basicConfig(level=logging.INFO)
if __name__ == "__main__":
    local_rank = int(os.getenv("LOCAL_RANK", "0"))
    config = {"input_padding": True, "dtype": torch.float32, "input_max_len": 40, "max_new_tokens": 8}
    model_runner = LlmModelRunner(model_name="llama2", model_path=model_path, **config)
    model_runner.execute_mode = mode
    model_runner.set_npu_config(jit_compile=False)
    if model_runner.is_logging:
        logging.info("rank %d of %d on %s", local_rank, model_runner.world_size, model_runner.device)
    result = model_runner.execute_model(prompts, **config)
"""


def tokens(answers):
    return [answer.token_ids for answer in answers]


@pytest.mark.parametrize("mode", MODES)
def test_a_script_runs_unchanged_but_for_its_import(checkpoint, mode, caplog, monkeypatch):
    monkeypatch.setattr("porter.runner.backends.has_cpp_compiler", lambda: False)  # quicker
    names = {"__name__": "__main__", "model_path": str(checkpoint), "mode": mode, "prompts": PROMPTS}
    with caplog.at_level(logging.INFO):
        exec(PLAIN, names)
    assert tokens(names["result"]) == source_rows(checkpoint, PROMPTS, 8)
    assert PROMPTS[0] + names["result"].texts[0] in caplog.messages and "rank 0 of 1 on cpu" in caplog.messages


class Told(LlmModelRunner):
    """Each step of the hand ports, noted with what it was called with."""

    def __init__(self, model_name, model_path, **kwargs):
        super().__init__(model_name, model_path, **kwargs)
        self.heard = []
        self.chat_template = kwargs.get("chat_template")

    def init_model(self, injection_policy=None):
        self.heard.append(("init_model", injection_policy))
        super().init_model(injection_policy)

    def generate_tokenizer(self):
        self.heard.append(("generate_tokenizer",))
        tokenizer = AutoTokenizer.from_pretrained(self.model_path, padding_side="left")
        tokenizer.pad_token_id = tokenizer.eos_token_id
        return tokenizer

    def warmup(self, warmup_prompts, **kwargs):
        self.heard.append(("warmup", warmup_prompts, kwargs))
        self.model_generate(warmup_prompts, **kwargs)

    def model_generate(self, prompts, decode_out=False, **kwargs):
        self.heard.append(("model_generate", prompts, decode_out, kwargs["input_max_len"], kwargs["max_new_tokens"]))
        kwargs.pop("chat_template", None)
        return super().model_generate(prompts, decode_out, **kwargs)

    def _generate_params(self, inputs, max_new_tokens):
        self.heard.append(("_generate_params", tuple(inputs.input_ids.shape), max_new_tokens))
        return super()._generate_params(inputs, max_new_tokens)


def test_steps_are_called_in_order_and_with_what_they_know(runner, checkpoint, caplog):
    config = {**LENGTHS, "input_padding": True, "chat_template": "plain"}
    made = runner(kind=Told, **config)
    answers = made.execute_model(PROMPTS, **config)
    assert tokens(answers) == source_rows(checkpoint, PROMPTS, 8)
    layer = made.model.model.layers[0].__class__
    generated = [("model_generate", PROMPTS, False, 40, 8), ("_generate_params", (3, 40), 8)]
    assert made.heard == [
        ("init_model", {layer: ("self_attn.o_proj", "mlp.down_proj")}),
        ("generate_tokenizer",),
        ("warmup", PROMPTS, config),
        *generated,
        ("model_generate", PROMPTS, True, 40, 8),
        generated[1],
    ]
    assert caplog.text.count("'chat_template' is no setting of the runner: left to Told") == 1
    made.heard.clear()
    assert tokens(made.execute_model(PROMPTS[:1])) == source_rows(checkpoint, PROMPTS[:1], 8)
    assert [step[0] for step in made.heard][:2] == ["warmup", "model_generate"]  # nothing is loaded again


def test_a_name_close_to_a_setting_is_a_mistake_in_every_runner(runner):
    with pytest.raises(TypeError, match="max_new_tokens"):
        runner(kind=Told, max_new_token=3)
    with pytest.raises(TypeError, match="no setting 'chat_template'"):
        runner(chat_template="plain")


def params_of(change):
    """A runner whose `_generate_params` is changed by `change(inputs, max_new_tokens, of_the_runner)`."""

    class Changed(LlmModelRunner):
        def _generate_params(self, inputs, max_new_tokens):
            return change(inputs, max_new_tokens, lambda: super(Changed, self)._generate_params(inputs, max_new_tokens))

    return Changed


def said_anew(inputs, max_new_tokens, of_the_runner):
    return {
        "input_ids": inputs["input_ids"],
        "attention_mask": inputs.attention_mask,
        "max_new_tokens": max_new_tokens,
        "do_sample": False,
        "use_cache": True,
    }


CHANGES = {
    "said anew": (said_anew, 8),
    "fewer": (lambda inputs, steps, of_the_runner: {**of_the_runner(), "max_new_tokens": 3}, 3),
    "more": (lambda inputs, steps, of_the_runner: {**of_the_runner(), "max_new_tokens": 60}, 60),
    "a length": (lambda inputs, steps, of: {**inputs, "max_length": inputs["input_ids"].shape[1] + 5}, 5),
}


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("change", CHANGES)
def test_parameters_of_a_user_count(runner, checkpoint, mode, change, padding):
    said, steps = CHANGES[change]
    made = runner(kind=params_of(said), backend="eager", input_padding=padding, **LENGTHS)
    made.execute_mode = mode
    assert tokens(made.execute_model(PROMPTS)) == source_rows(checkpoint, PROMPTS, steps)


@pytest.mark.parametrize("mode", MODES)
def test_stops_and_processors_of_a_user_count(runner, checkpoint, mode):
    whole = source_rows(checkpoint, PROMPTS, 8)
    banned = torch.tensor([whole[0][0]])

    def ban(ids, scores):
        return scores.index_fill(1, banned, float("-inf"))

    asked = {"eos_token_id": whole[1][3], "logits_processor": [ban], "do_sample": False}
    made = runner(kind=params_of(lambda inputs, steps, of: {**of(), **asked}), backend="eager", **LENGTHS)
    made.execute_mode = mode
    assert tokens(made.execute_model(PROMPTS)) == [
        row[: row.index(whole[1][3]) + 1] if whole[1][3] in row else row
        for row in source_rows(checkpoint, PROMPTS, 8, logits_processor=[ban], eos_token_id=[])
    ]


REFUSED = [
    ({"num_beams": 2}, MODES, "num_beams=2"),
    ({"past_key_values": torch.nn.Module()}, MODES, "gives past_key_values, which the runner makes itself"),
    ({"custom_generate": print}, MODES, "gives custom_generate"),
    ({"input_ids": None}, MODES, "no input_ids"),
    ({"position_ids": torch.zeros(1, 2)}, ["dynamo"], "gives position_ids too"),
    ({"assistant_model": torch.nn.Module()}, MODES, "not with assistant_model"),
]


@pytest.mark.parametrize(("extra", "mode", "said"), [(e, m, s) for e, modes, s in REFUSED for m in modes])
def test_parameters_that_would_not_be_followed_are_refused(runner, extra, mode, said):
    made = runner(kind=params_of(lambda inputs, steps, of: {**of(), **extra}), backend="eager", **LENGTHS)
    made.execute_mode = mode
    with pytest.raises(CannotRun, match=said) as refused:
        made.execute_model(PROMPTS, warm_up=False)
    assert refused.value.diagnostic.code == "P089"


class OwnLoop(LlmModelRunner):
    """Tokenizes, generates and decodes by itself."""

    by_the_runner = True

    def model_generate(self, prompts, decode_out=False, **kwargs):
        inputs = self.tokenizer(
            prompts, return_tensors="pt", padding="max_length", truncation=True, max_length=kwargs["input_max_len"]
        ).to(self.device)
        params = self._generate_params(inputs, kwargs["max_new_tokens"])
        if not self.by_the_runner:
            params = {"input_ids": inputs.input_ids, "attention_mask": inputs.attention_mask, "max_new_tokens": 8}
        with torch.no_grad():
            ids = self.model.generate(**params)
        return ids[:, inputs.input_ids.shape[1] :].tolist() if decode_out else None


@pytest.mark.parametrize("by_the_runner", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_a_user_s_own_loop_gets_the_steps_of_the_mode(runner, checkpoint, mode, by_the_runner, caplog):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    made = runner(kind=OwnLoop, backend=backend, input_padding=True, **LENGTHS)
    made.by_the_runner, made.execute_mode = by_the_runner, mode
    rows = made.execute_model(PROMPTS, **LENGTHS)
    assert [tuple(row) for row in rows] == source_rows(checkpoint, PROMPTS, 8, eos_token_id=[])
    compiled = mode == "dynamo" and by_the_runner
    assert len(graphs) == 2 * compiled
    assert ("OwnLoop.model_generate ran its steps eagerly" in caplog.text) == (mode == "dynamo" and not by_the_runner)


def test_a_model_that_a_user_loads_is_run_as_it_is(runner, checkpoint):
    class Loads(LlmModelRunner):
        def init_model(self, injection_policy=None):
            self.device = torch.device("cpu")
            self.tokenizer = self.generate_tokenizer()
            self.model = LlamaForCausalLM.from_pretrained(self.model_path, torch_dtype=self.dtype).to(self.device)

    made = runner(kind=Loads, **LENGTHS)
    assert tokens(made.execute_model(PROMPTS)) == source_rows(checkpoint, PROMPTS, 8)
    assert type(made.model) is LlamaForCausalLM and made.dtype == torch.float32
    made.execute_mode = "dynamo"
    with pytest.raises(CannotRun, match="keeps its source's KV cache"):
        made.execute_model(PROMPTS)

    class Forgets(LlmModelRunner):
        def init_model(self, injection_policy=None):
            self.loaded = True

    with pytest.raises(RuntimeError, match=r"Forgets.init_model sets no self\.model"):
        runner(kind=Forgets).execute_model(PROMPTS)


def test_what_is_set_before_loading_has_its_effect(models_folder, checkpoint, tmp_path):
    made = LlmModelRunner("llama2", tmp_path / "elsewhere", models=models_folder, **LENGTHS)
    with pytest.raises(CannotRun, match="no checkpoint folder"):
        made.execute_model(PROMPTS)
    made.model_path = checkpoint
    found = made.model_class
    made.model_class = LlamaForCausalLM
    made.model_name = "llama2"
    assert made.model_class is found
    with pytest.raises(CannotRun, match="no model 'llama'"):
        made.model_name = "llama"
    with pytest.raises(CannotRun, match="registered are none"):
        made.execute_model(PROMPTS, models=tmp_path)
    assert made.model_name == "llama2" and made.model_class is found
    shutil.copytree(models_folder, tmp_path / "models")
    made.model_generate(PROMPTS[:1], models=tmp_path / "models")
    assert type(made.model) is made.model_class is not found
    made = LlmModelRunner("llama2", checkpoint, models=models_folder, **LENGTHS)
    assert tokens(made.execute_model(PROMPTS)) == source_rows(checkpoint, PROMPTS, 8)


def test_what_was_read_of_a_checkpoint_is_not_kept_for_another(runner, checkpoint, tmp_path):
    made = runner(model_path=shutil.copytree(checkpoint, tmp_path / "first"), adapter=tmp_path / "none", **LENGTHS)
    with pytest.raises(CannotRun, match="is no adapter"):  # behind the tokenizer
        made.execute_model(PROMPTS)
    assert made.tokenizer is not None
    made.model_path = shutil.copytree(checkpoint, tmp_path / "second", ignore=shutil.ignore_patterns("token*"))
    with pytest.raises(CannotRun, match="has no tokenizer"):
        made.execute_model(PROMPTS, adapter=None)


def test_attributes_are_read_and_set_by_the_names_scripts_know(runner, checkpoint, monkeypatch):
    made = runner(model_path=str(checkpoint), **LENGTHS)
    assert (made.model_name, made.model_path) == ("llama2", str(checkpoint))
    assert (made.local_rank, made.world_size, made.is_logging) == (0, 1, True)
    assert made.model is made.tokenizer is made.dtype is None and not made.input_padding
    made.dtype, made.input_padding, made.device = torch.bfloat16, True, "cpu"
    made.local_rank = made.world_size - 1
    made.execute_model(PROMPTS[:1], max_new_tokens=2)
    assert made.dtype == made.model.dtype == torch.bfloat16 and made._kept.cache.max_cache_len == 42
    for name, value, said in [
        ("world_size", 8, "world_size is 1, as the launcher has it"),
        ("local_rank", 1, "local_rank is 0"),
        ("dtype", torch.float16, "another dtype"),
        ("device", "cuda:7", "`cuda:7` is not there"),
        ("execute_mode", "graph", "eager or dynamo"),
        ("device", "meta", "no device `meta`"),
        ("model_name", "mistral", "the model is loaded: make a new runner for another model_name"),
        ("model_path", "elsewhere", "another model_path"),
        ("model_class", LlamaForCausalLM, "another model_class"),
    ]:
        before = getattr(made, name)
        with pytest.raises(ValueError, match=said):
            setattr(made, name, value)
        assert getattr(made, name) == before
        setattr(made, name, before)
    monkeypatch.setattr("porter.runner.attributes.choose_device", torch.device)  # as if there were others
    for device in ("cuda", torch.device("cuda:1")):
        with pytest.raises(ValueError, match="the model is loaded: make a new runner for another device"):
            made.device = device
    made.device = "cpu"
    assert made.device == made.model.device == torch.device("cpu")
    assert LlmModelRunner("llama2", checkpoint).dtype is None
    assert made.tokenizer.padding_side == "left" and made.tokenizer.pad_token is not None


def test_steps_may_be_called_one_by_one(runner, checkpoint, caplog):
    made = runner(**LENGTHS)
    made.init_model()
    made.warmup(PROMPTS, **LENGTHS)
    with caplog.at_level(logging.INFO, logger="porter.runner"):
        answers = made.model_generate(PROMPTS, decode_out=True, **LENGTHS)
    assert tokens(answers) == source_rows(checkpoint, PROMPTS, 8) and PROMPTS[1] + answers.texts[1] in caplog.messages
    assert tokens(runner(**LENGTHS).model_generate(PROMPTS)) == tokens(answers)


def test_npu_settings_are_set_where_there_is_an_npu(monkeypatch):
    LlmModelRunner.set_npu_config(jit_compile=False)  # static, and nothing here
    with pytest.raises(TypeError, match="no NPU setting 'jit'"):
        LlmModelRunner.set_npu_config(jit=True)
    done = []
    npu = types.SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 1,
        set_compile_mode=lambda **mode: done.append(mode),
        set_option=done.append,
    )
    monkeypatch.setattr(torch, "npu", npu, raising=False)
    LlmModelRunner.set_npu_config(jit_compile=True)
    assert done == [{"jit_compile": True}, {"NPU_FUZZY_COMPILE_BLACKLIST": "ReduceProd"}]


def test_another_injection_policy_than_the_registry_s_is_refused_on_several_ranks(runner):
    other = {LlamaForCausalLM: ("mlp.down_proj",)}
    made = runner()
    made.init_model(other)  # one rank: nothing is cut
    assert made.model is not None
    made = runner()
    made.ranks = Place(0, 0, 2, torch.device("cpu"))
    with pytest.raises(CannotRun, match="is not that of the port `llama2`") as refused:
        made.init_model(other)
    assert refused.value.diagnostic.code == "P087" and made.model is None

"""Scripts as users of the hand ports have them, with the import alone changed, answer as the source does."""

import logging

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from porter.runner import CannotRun, LlmModelRunner
from porter.runner.ranks import Place
from tests.runner.reference import LENGTHS, MODES, PROMPTS, source_rows, tokens

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


def test_steps_may_be_called_one_by_one(runner, checkpoint, caplog):
    made = runner(**LENGTHS)
    made.init_model()
    made.warmup(PROMPTS, **LENGTHS)
    with caplog.at_level(logging.INFO, logger="porter.runner"):
        answers = made.model_generate(PROMPTS, decode_out=True, **LENGTHS)
    assert tokens(answers) == source_rows(checkpoint, PROMPTS, 8) and PROMPTS[1] + answers.texts[1] in caplog.messages
    assert tokens(runner(**LENGTHS).model_generate(PROMPTS)) == tokens(answers)


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

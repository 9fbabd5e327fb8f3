"""What cannot be split over ranks, and what a source has no room for, is refused before a weight is read."""

import json
import shutil

import pytest
import torch
from transformers import AutoTokenizer, MptConfig, MptForCausalLM

from porter.convert import convert
from porter.emit import Written, emit
from porter.runner import CannotRun, LlmModelRunner, model_runner
from porter.runner.ranks import Place
from porter.source import load_source
from tests.runner.reference import PROMPTS, tokenizer_of

ROOM = 40


@pytest.fixture(scope="module")
def mpt(tmp_path_factory, checkpoint):
    """Folder of the port, and a tiny checkpoint with room for `ROOM` tokens."""
    root, folder = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("mpt")
    assert isinstance(emit(convert(load_source("transformers.models.mpt"), name="mpt"), root / "mpt"), Written)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = MptConfig(d_model=64, n_heads=4, n_layers=2, max_seq_len=ROOM, vocab_size=len(tokenizer))
    MptForCausalLM(config).save_pretrained(folder)
    return root, folder


@pytest.fixture
def reads_no_weight(monkeypatch):
    def read(*arguments):
        raise AssertionError("weights are read")

    monkeypatch.setattr(model_runner, "load_whole", read)


def of_two(made):
    made.ranks = Place(0, 0, 2, torch.device("cpu"))
    return made


def refused(call, said, code):
    with pytest.raises(CannotRun, match=said) as error:
        call()
    assert error.value.diagnostic.code == code


@pytest.mark.parametrize("step", ["execute_model", "init_model"])
def test_layers_that_nobody_knows_how_to_split_are_refused_before_weights_are_read(mpt, reads_no_weight, step):
    made = of_two(LlmModelRunner("mpt", mpt[1], models=mpt[0], max_new_tokens=4))
    call = made.init_model if step == "init_model" else lambda: made.execute_model(PROMPTS)
    refused(call, "MptBlock 0: DeepSpeed guesses the parts of a linear called `Wqkv`", "P087")
    assert made.model is None


@pytest.mark.parametrize("policy", [False, True])
def test_a_port_without_split_points_is_refused_in_the_contract_s_words(
    models_folder, checkpoint, tmp_path, reads_no_weight, policy
):
    root = shutil.copytree(models_folder, tmp_path / "models")
    account = json.loads((root / "llama2" / "port.json").read_text())
    assert account["split_points"]
    account["split_points"] = None
    (root / "llama2" / "port.json").write_text(json.dumps(account))
    (root / "__init__.py").unlink()
    made = of_two(LlmModelRunner("llama2", checkpoint, models=root, max_new_tokens=4, edited=True))
    other = {torch.nn.Module: ("mlp.down_proj",)}
    call = (lambda: made.init_model(other)) if policy else (lambda: made.execute_model(PROMPTS))
    refused(call, "the port has no split points: nothing says how to split it over ranks", "P087")


def test_a_model_that_is_split_is_not_refused(runner, reads_no_weight):
    with pytest.raises(AssertionError, match="weights are read"):
        of_two(runner()).execute_model(PROMPTS)


def test_what_does_not_divide_is_refused_by_its_name(runner, reads_no_weight):
    made = runner()
    made.ranks = Place(0, 0, 3, torch.device("cpu"))
    refused(lambda: made.execute_model(PROMPTS), "num_attention_heads is 4", "P087")


def lengths_of(mpt, padding):
    """Tokens of the prompt as the model gets it, and the new ones that fill its room to the last."""
    length = 32 if padding else len(tokenizer_of(mpt[1])(PROMPTS[0])["input_ids"])
    return length, ROOM + 1 - length


def of_the_source(mpt, steps):
    ids = torch.tensor([tokenizer_of(mpt[1])(PROMPTS[0])["input_ids"]])
    asked = {"max_new_tokens": steps, "do_sample": False, "eos_token_id": None, "pad_token_id": 1}
    found = MptForCausalLM.from_pretrained(mpt[1]).eval().generate(ids, attention_mask=ids.new_ones(ids.shape), **asked)
    return tuple(found[0, ids.shape[1] :].tolist())


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("mode", ["eager", "dynamo"])
def test_more_tokens_than_the_source_s_table_are_refused_before_the_first(mpt, mode, padding, reads_no_weight):
    length, most = lengths_of(mpt, padding)
    made = LlmModelRunner("mpt", mpt[1], models=mpt[0], input_padding=padding, input_max_len=32)
    made.execute_mode = mode
    said = f"a prompt of {length} tokens and {most + 1} new ones, and the model has room for {ROOM}"
    refused(lambda: made.execute_model(PROMPTS[:1], max_new_tokens=most + 1), said, "P093")
    assert made.model is None


@pytest.mark.parametrize("mode", ["eager", "dynamo"])
def test_up_to_the_last_that_it_has_room_for_the_answer_is_the_source_s(mpt, mode):
    _, most = lengths_of(mpt, False)
    expected = of_the_source(mpt, most)
    with pytest.raises(RuntimeError, match="must match"):
        of_the_source(mpt, most + 1)
    made = LlmModelRunner("mpt", mpt[1], models=mpt[0], input_max_len=32, eos_token_id=[], backend="eager")
    made.execute_mode = mode
    assert made.execute_model(PROMPTS[:1], max_new_tokens=most)[0].token_ids == expected
    call = lambda: made.execute_model(PROMPTS[:1], max_new_tokens=most + 1, warm_up=False)  # noqa: E731
    refused(call, "has room for 40", "P093")


@pytest.mark.parametrize("mode", ["eager", "dynamo"])
def test_parameters_of_a_user_s_own_count(mpt, mode):
    class Own(LlmModelRunner):
        steps = 5

        def _generate_params(self, inputs, max_new_tokens):
            return {**super()._generate_params(inputs, max_new_tokens), "max_new_tokens": self.steps}

    made = Own("mpt", mpt[1], models=mpt[0], input_max_len=32, eos_token_id=[], backend="eager")
    made.execute_mode = mode
    assert made.execute_model(PROMPTS[:1], max_new_tokens=200)[0].token_ids == of_the_source(mpt, 5)
    made.steps = 200
    refused(lambda: made.execute_model(PROMPTS[:1], max_new_tokens=4), "200 new ones, and the model has room", "P093")

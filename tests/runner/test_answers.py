"""Answers are transformers' own in both modes: how tokens are chosen, where rows stop, how text is streamed."""

import json
from functools import cache

import pytest
import torch

from porter.runner import LlmModelRunner
from porter.runner.stops import RowStops
from porter.runner.stream import Printer, TextStream
from porter.runtime import left_pad, products
from tests.runner.reference import PROMPTS, source_model, source_rows, tokenizer_of

MODES = ("eager", "dynamo")
CHOICES = {
    "greedy": {},
    "sampling": {"do_sample": True, "temperature": 0.8, "top_k": 20, "top_p": 0.9},
    "all of the vocabulary": {"do_sample": True, "top_k": 0},
    "repetition penalty": {"repetition_penalty": 1.7},
    "sampling with a penalty": {"do_sample": True, "repetition_penalty": 1.3},
}


@pytest.fixture
def answering(runner):
    def make(mode, **config):
        made = runner(**{"backend": "eager", "input_max_len": 40, **config})
        made.execute_mode = mode
        return made

    return make


@pytest.fixture(scope="module")
def of_mode(models_folder, checkpoint):
    """A runner for each mode and padding, whose steps are compiled once for all choices."""

    @cache
    def make(mode, padding):
        asked = {"backend": "eager", "input_max_len": 40, "max_new_tokens": 12, "eos_token_id": []}
        made = LlmModelRunner("llama2", checkpoint, models=models_folder, input_padding=padding, **asked)
        made.execute_mode = mode
        return made

    return make


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("padding", [False, True])
def test_tokens_of_a_batch_are_those_of_the_source_for_the_same_inputs(of_mode, checkpoint, mode, choice, padding):
    tokenizer = tokenizer_of(checkpoint)
    rows = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    ids, mask = left_pad(rows, tokenizer.eos_token_id, 40 if padding else None)
    torch.manual_seed(11)
    options = {"do_sample": False, **CHOICES[choice], "pad_token_id": tokenizer.eos_token_id, "max_new_tokens": 12}
    expected = source_model(checkpoint).generate(ids, attention_mask=mask, eos_token_id=[], **options)
    made = of_mode(mode, padding)
    made.init_model()
    torch.manual_seed(11)
    answers = made.execute_model(PROMPTS, **CHOICES[choice])
    assert [list(answer.token_ids) for answer in answers] == expected[:, ids.shape[1] :].tolist()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", [False, True])
def test_a_runner_looks_up_rotary_tables_and_computes_large_products_by_blocks(
    answering, checkpoint, monkeypatch, mode, padding
):
    monkeypatch.setattr(products, "ROWS", 48)
    monkeypatch.setattr(products, "_LARGE", 1)
    made = answering(mode, input_padding=padding)
    made.init_model()
    made._kept.emptied(made.model, made.settings, len(PROMPTS), made.device)  # with its tables
    if mode == "dynamo":
        made._loop(torch.ones(len(PROMPTS), 8), made.settings, None)

    def computed(x, position_ids):
        raise AssertionError("computed, not looked up")

    monkeypatch.setattr(made.model.model.rotary_emb.rotary, "forward", computed)
    answers = made.execute_model(PROMPTS)
    assert sum(isinstance(module, products.BlockedLinear) for module in made.model.modules()) == 2 * 4 + 1
    assert [answer.token_ids for answer in answers] == source_rows(checkpoint, PROMPTS, 12)


@pytest.mark.parametrize("mode", MODES)
def test_several_stop_tokens_end_their_rows(answering, checkpoint, mode):
    whole = source_rows(checkpoint, PROMPTS, 12)
    stops = [whole[0][3], whole[2][6]]
    answers = answering(mode, eos_token_id=stops).execute_model(PROMPTS)
    expected = source_rows(checkpoint, PROMPTS, 12, eos_token_id=stops)
    assert [answer.token_ids for answer in answers] == expected
    assert len(expected[0]) <= 4 and len(expected[2]) <= 7


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stopless", [False, True])
def test_stop_strings_end_their_rows(answering, checkpoint, mode, stopless):
    """Also without a stop token, where transformers goes on writing into rows that have stopped."""
    tokenizer = tokenizer_of(checkpoint)
    whole = source_rows(checkpoint, PROMPTS, 12)
    # half a character, which many tokens here are, is not a string
    plain = [[tokenizer.decode([token]) for token in row] for row in whole]
    strings = [next(text for text in row[2:] if text.isascii() and len(text) > 1) for row in plain[:2]]
    options = {"eos_token_id": []} if stopless else {}
    expected = source_rows(checkpoint, PROMPTS, 12, stop_strings=strings, tokenizer=tokenizer, **options)
    answers = answering(mode, stop_strings=strings, **options).execute_model(PROMPTS)
    assert [answer.token_ids for answer in answers] == expected
    assert all(len(row) < 12 for row in expected[:2]) and {len(row) for row in expected} != {len(expected[0])}


@pytest.mark.parametrize("mode", MODES)
def test_stop_strings_of_the_checkpoint_count(answering, damaged, mode):
    tokenizer = tokenizer_of(damaged)
    plain = [tokenizer.decode([token]) for token in source_rows(damaged, PROMPTS[:1], 12)[0]]
    string = next(text for text in plain[2:] if text.isascii() and len(text) > 1)
    file = damaged / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "stop_strings": [string]}))
    (answer,) = answering(mode, model_path=damaged).execute_model(PROMPTS[0])
    assert answer.text.count(string) == 1 and len(answer.token_ids) < 12


@pytest.mark.parametrize("mode", MODES)
def test_pieces_of_a_stream_are_the_answers(answering, mode, capsys):
    heard = {row: [] for row in range(3)}

    class Heard(LlmModelRunner):
        def show(self, prompts):
            return lambda row, piece: heard[row].append(piece)

    first = answering(mode).execute_model(PROMPTS)
    assert capsys.readouterr().out == ""
    stop = first[1].token_ids[4]
    made = answering(mode, kind=Heard, stream=True, eos_token_id=stop)
    answers = made.execute_model(PROMPTS)
    for row, answer in enumerate(answers):
        *pieces, end = heard[row]
        assert end is None and "".join(pieces) == answer.text
    assert len(heard[0]) > 3
    printed = answering(mode, stream=True, eos_token_id=stop)
    printed.execute_model(PROMPTS)
    shown = "".join(f"{answer.prompt}{answer.text}\n" for answer in answers)
    assert capsys.readouterr().out == shown


def test_a_piece_never_holds_half_a_character(checkpoint):
    tokenizer, text = tokenizer_of(checkpoint), "naïve 日本語 🙂 end"
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces, stops = [], RowStops(1, ())
    stream = TextStream(tokenizer, 1, stops, lambda row, piece: pieces.append(piece))
    stream.put(torch.tensor([[0]]))
    for token in tokens:
        stream.put(torch.tensor([token]))
    stream.end()
    assert pieces[-1] is None and "".join(pieces[:-1]) == text
    assert len(tokens) > len(pieces) > 3 and not any("\ufffd" in piece for piece in pieces[:-1])


def test_rows_are_printed_one_after_the_other():
    out = []
    printer = Printer(["a: ", "b: "], out.append)
    for row, piece in [(0, "1"), (1, "x"), (1, None), (0, "2")]:
        printer(row, piece)
    assert "".join(out) == "a: 12"
    printer(0, None)
    assert "".join(out) == "a: 12\nb: x\n"


def test_ends_are_the_first_ones():
    stops = RowStops(2, {7})
    columns = torch.tensor([[1, 1, 5, 7, 7], [1, 1, 7, 5, 5], [1, 1, 5, 5, 5]])
    for width in (3, 4, 5):
        assert not stops(columns[:, :width], None).any()  # stop tokens are another criterion's
    assert stops.ends() == [2, 1, None]
    assert stops.cut(columns[:, 2:]) == [[5, 7], [7], [5, 5, 5]]


def test_a_prompt_that_is_too_long_is_refused_before_weights_are_read(answering):
    made = answering("eager", input_max_len=4)
    with pytest.raises(ValueError, match="input_max_len is 4"):
        made.execute_model(PROMPTS)
    assert made.model is None

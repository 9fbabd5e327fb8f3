"""What is asked of a runner by files, settings and threads: the source's tokens, or CannotRun with the reason."""

import json
import logging
import threading

import pytest
import torch

from porter.runner import CannotRun, room
from tests.runner.reference import PROMPTS, source_model, source_rows

STEPS = 8


def spoil(folder, name, **values):
    file = folder / name
    old = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**old, **values}))


def rows(answers):
    return [answer.token_ids for answer in answers]


@pytest.fixture(scope="module")
def expected(checkpoint):
    return source_rows(checkpoint, PROMPTS, STEPS)


CACHES = ("static", "dynamic", "offloaded")
WITHOUT_EFFECT = [
    {"use_cache": False},
    {"return_dict_in_generate": True},
    {"return_dict_in_generate": True, "output_scores": True, "output_logits": True},
    {"return_dict_in_generate": True, "output_hidden_states": True},
    {"return_dict_in_generate": True, "output_attentions": True},
    *({"cache_implementation": name} for name in CACHES),
    {"num_beams": 1, "num_return_sequences": 1},
    {"temperature": 0.0},  # of no meaning to greedy answers
    {"max_length": 5},
]


@pytest.mark.parametrize("values", WITHOUT_EFFECT, ids=str)
def test_settings_that_do_not_change_tokens_do_not(runner, damaged, expected, values):
    spoil(damaged, "generation_config.json", **values)
    assert rows(runner(damaged, max_new_tokens=STEPS).execute_model(PROMPTS)) == expected


@pytest.mark.parametrize("cache", CACHES)
def test_nor_do_they_all_together_in_compiled_steps(runner, damaged, expected, cache):
    together = {name: value for values in WITHOUT_EFFECT for name, value in values.items()}
    spoil(damaged, "generation_config.json", **{**together, "cache_implementation": cache})
    made = runner(damaged, max_new_tokens=STEPS, backend="eager")
    made.execute_mode = "dynamo"
    assert rows(made.execute_model(PROMPTS)) == expected


@pytest.mark.parametrize("name", ["use_cache", "output_hidden_states"])
def test_flags_of_the_configuration_do_not_change_tokens(runner, damaged, expected, name):
    spoil(damaged, "config.json", **{name: name != "use_cache"})
    assert rows(runner(damaged, max_new_tokens=STEPS).execute_model(PROMPTS)) == expected


WITH_EFFECT = [
    {"repetition_penalty": 1.7},
    {"no_repeat_ngram_size": 2},
    {"suppress_tokens": [5, 6, 7]},
    {"min_new_tokens": 4},
    {"bad_words_ids": [[9], [4, 5]]},
    {"guidance_scale": 1.5},
    {"exponential_decay_length_penalty": [3, 1.2]},
]


@pytest.mark.parametrize("values", WITH_EFFECT, ids=str)
def test_penalties_and_bans_are_the_source_s(runner, damaged, checkpoint, values):
    spoil(damaged, "generation_config.json", **values)
    found = rows(runner(damaged, max_new_tokens=STEPS).execute_model(PROMPTS))
    assert found == source_rows(checkpoint, PROMPTS, STEPS, **values)


REFUSED = [
    ({"num_beams": 4}, "num_beams=4"),
    ({"num_return_sequences": 3, "do_sample": True}, "num_return_sequences=3"),
    ({"prompt_lookup_num_tokens": 3}, "prompt_lookup_num_tokens=3"),
    ({"cache_implementation": "quantized"}, "cache_implementation='quantized'"),
    ({"cache_implementation": "paged"}, "cache_implementation='paged'"),
    ({"cache_implementation": "unheard of"}, "no generation config|cache_implementation"),
    ({"penalty_alpha": 0.6, "top_k": 4}, "penalty_alpha=0.6"),
    ({"token_healing": True}, "token_healing=True"),
    ({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5}, "num_beam_groups=2"),
]


@pytest.mark.parametrize("mode", ["eager", "dynamo"])
@pytest.mark.parametrize(("values", "said"), REFUSED, ids=str)
def test_other_ways_are_refused_before_weights_are_read(runner, damaged, monkeypatch, values, said, mode):
    spoil(damaged, "generation_config.json", **values)
    made = runner(damaged)
    made.execute_mode = mode
    monkeypatch.setattr(made, "load_model", lambda: pytest.fail("weights were read"))
    with pytest.raises(CannotRun, match=said) as refused:
        made.execute_model(PROMPTS)
    assert refused.value.diagnostic.code == "P089" and refused.value.diagnostic.help


IMPOSSIBLE = [
    {"do_sample": True, "temperature": 0.0},
    {"do_sample": True, "typical_p": -0.5},
    {"do_sample": True, "top_k": -1},
    {"repetition_penalty": -1.0},
    {"do_sample": True, "temperature": "hot"},
    {"bad_words_ids": []},
    {"top_k": "5"},
    {"eos_token_id": 5.0},
    {"eos_token_id": [[5]]},
    {"stop_strings": 5},
    {"stop_strings": ["a", 5]},
]


@pytest.mark.parametrize("values", IMPOSSIBLE, ids=str)
def test_values_that_transformers_refuses_are_one_message(runner, damaged, values):
    spoil(damaged, "generation_config.json", **values)
    with pytest.raises(CannotRun) as refused:
        runner(damaged).execute_model(PROMPTS)
    assert refused.value.diagnostic.code == "P089" and "\n" not in refused.value.diagnostic.message


def test_a_generation_config_that_is_no_json_is_one_message(runner, damaged):
    (damaged / "generation_config.json").write_text('{"num_beams"')
    with pytest.raises(CannotRun, match=r"generation_config.json` cannot be read: .* line 1 column 13") as refused:
        runner(damaged).execute_model(PROMPTS)
    assert refused.value.diagnostic.code == "P081"


def test_a_refused_setting_of_one_call_leaves_the_runner_as_it_was(runner, expected):
    made = runner(max_new_tokens=STEPS)
    with pytest.raises(CannotRun, match="temperature"):
        made.execute_model(PROMPTS, do_sample=True, temperature=0.0)
    assert rows(made.execute_model(PROMPTS)) == expected


TOO_LARGE = [
    ({"max_new_tokens": 10**9}, "max_new_tokens is 1,000,000,000, and the model has [0-9,]+ positions"),
    ({"input_padding": True, "input_max_len": 10**9}, "input_max_len is 1,000,000,000, and the model has"),
    ({"input_max_len": 10**9}, r"\(1,000,000,000 \+ 8\) tokens need [0-9,]+\.\d GiB .* cpu has [0-9.]+ GiB free"),
]


@pytest.mark.parametrize("loaded", [False, True], ids=["first call", "loaded"])
@pytest.mark.parametrize("mode", ["eager", "dynamo"])
@pytest.mark.parametrize(("asked", "said"), TOO_LARGE, ids=["new tokens", "padding", "input length"])
def test_a_huge_request_is_refused_with_the_figure_and_the_next_one_works(runner, expected, asked, said, mode, loaded):
    made = runner(max_new_tokens=STEPS, backend="eager" if mode == "dynamo" else None)
    made.execute_mode = mode
    if loaded:
        assert rows(made.execute_model(PROMPTS)) == expected
    with pytest.raises(CannotRun, match=said) as refused:
        made.execute_model(PROMPTS, **asked)
    assert refused.value.diagnostic.code == "P093"
    again = made.execute_model(PROMPTS, input_max_len=64, max_new_tokens=STEPS, input_padding=False)
    assert rows(again) == expected


def test_memory_that_runs_out_all_the_same_is_one_message_and_the_next_call_works(runner, expected, monkeypatch):
    made = runner(max_new_tokens=STEPS)
    made.init_model()
    with monkeypatch.context() as patched:
        patched.setattr(room, "free_memory", lambda device: None)
        with pytest.raises(CannotRun, match="out of memory") as refused:
            made.execute_model(PROMPTS, input_max_len=10**13)
    assert refused.value.diagnostic.code == "P093"
    assert rows(made.execute_model(PROMPTS, input_max_len=64)) == expected


def test_generate_works_again_after_a_call_that_failed(runner, expected):
    made = runner(max_new_tokens=STEPS)
    made.init_model()
    handle = made.model.model.layers[1].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made.execute_model(PROMPTS)
    handle.remove()
    assert rows(made.execute_model(PROMPTS)) == expected


@pytest.mark.parametrize("mode", ["eager", "dynamo"])
def test_threads_that_share_a_runner_take_turns(runner, checkpoint, mode):
    made = runner(max_new_tokens=STEPS, backend="eager" if mode == "dynamo" else None)
    made.execute_mode = mode
    prompts = [*PROMPTS, "import torch"]
    found = together([lambda prompt=prompt: rows(made.execute_model(prompt)) for prompt in prompts for _ in range(3)])
    assert found == [[row] for row in source_rows(checkpoint, prompts, STEPS) for _ in range(3)]


def test_threads_that_share_a_model_get_the_source_s_tokens(runner, checkpoint):
    made = runner(max_new_tokens=STEPS)
    made.execute_model(PROMPTS)
    inputs = [made.tokenize([prompt], made.settings) for prompt in PROMPTS for _ in range(3)]
    asked = {"max_new_tokens": STEPS, "do_sample": False, "pad_token_id": 1}
    found = together([lambda given=given: made.model.generate(**given, **asked) for given in inputs])
    for given, tokens in zip(inputs, found, strict=True):
        assert torch.equal(tokens, source_model(checkpoint).generate(**given, **asked))


def together(calls):
    """Results of the calls, each made in a thread of its own, all begun at once."""
    results, begin = [None] * len(calls), threading.Barrier(len(calls))

    def run(index):
        begin.wait()
        results[index] = calls[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture
def warned(monkeypatch):
    """Warnings of transformers' criteria and of the runner, each time anew."""
    said = []

    class Listener(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    listener = Listener(logging.WARNING)
    names = ("transformers.generation.stopping_criteria", "porter.runner")
    for name in names:
        logging.getLogger(name).addHandler(listener)
    logging.getLogger(names[0]).warning_once.cache_clear()
    yield said
    for name in names:
        logging.getLogger(name).removeHandler(listener)


def test_padding_is_not_counted_as_positions(runner, damaged, expected, warned):
    spoil(damaged, "config.json", max_position_embeddings=48)
    made = runner(damaged, input_padding=True, input_max_len=48, max_new_tokens=STEPS)
    assert rows(made.execute_model(PROMPTS)) == expected
    assert warned == []
    made.execute_model(PROMPTS, max_new_tokens=48)
    assert [text for text in warned if "the model has 48 positions" in text] == warned and warned

"""What a user's `_generate_params` says is followed, or refused."""

import pytest
import torch

from porter.runner import CannotRun, LlmModelRunner
from tests.runner.reference import LENGTHS, MODES, PROMPTS, source_rows, tokens


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

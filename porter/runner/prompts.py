"""From prompts to one batch of tokens; a prompt that cannot be answered is CannotRun (P085)."""

from __future__ import annotations

from typing import Any

import torch

from porter.runner.refusal import CannotRun
from porter.runner.settings import Settings
from porter.runtime import left_pad


def check_prompts(prompts: list[Any]) -> None:
    """Texts of at least one character, and at least one of them."""
    if not prompts:
        raise CannotRun("P085", "no prompts", "give at least one")
    for index, prompt in enumerate(prompts):
        if not isinstance(prompt, str) or not prompt:
            raise CannotRun("P085", f"prompt {index} is {prompt!r}", "a prompt is a text of at least one character")
        try:
            prompt.encode()
        except UnicodeEncodeError as error:  # bytes of a command line that are no UTF-8 come as lone surrogates
            message = f"prompt {index} is no Unicode text at character {error.start}"
            raise CannotRun("P085", message, "give it in UTF-8") from None


def encode(tokenizer: Any, prompts: list[str], settings: Settings, shortest: int = 1) -> dict[str, torch.Tensor]:
    """input_ids and attention_mask (B, S): S is input_max_len with padding, else the longest, at least `shortest`."""
    rows = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    for index, row in enumerate(rows):
        if not row:
            raise CannotRun("P085", f"prompt {index} has no tokens: {prompts[index]!r}", "write something")
        if len(row) > settings.input_max_len:
            message = f"prompt {index} has {len(row)} tokens, input_max_len is {settings.input_max_len}"
            raise CannotRun("P085", message, "raise input_max_len, or shorten the prompt")
    width = settings.input_max_len if settings.input_padding else max(*map(len, rows), shortest)
    input_ids, attention_mask = left_pad(rows, padding_token(tokenizer), width)
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def padding_token(tokenizer: Any) -> int:
    """Any token will do: the mask hides it."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0

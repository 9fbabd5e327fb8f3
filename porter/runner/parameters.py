"""What `generate()` is asked by a call, or by a user's `_generate_params`: sorted out before a token is computed.

Contract: a user's values count, the runner's own parts (KV cache, compiled loop) are never replaced in silence, and
what compiled steps would not see is CannotRun (P089).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from transformers import GenerationConfig, GenerationMixin, StoppingCriteriaList

from porter.runner.loop import CompiledLoop
from porter.runner.refusal import CannotRun
from porter.runner.settings import Settings
from porter.runner.stops import RowStops
from porter.runtime.cache_name import GENERATED

_REFUSED = ("assistant_model", "negative_prompt_ids", "negative_prompt_attention_mask")
_INPUTS = ("input_ids", "attention_mask", GENERATED)
_TOLD = (*inspect.signature(GenerationMixin.generate).parameters, *vars(GenerationConfig()), "tokenizer")


def whole(params: Mapping[str, Any], cache: Any, compiled: bool) -> dict[str, Any]:
    """The parameters with a mask. `cache`: the runner's own, which they may hold already.

    CannotRun (P089) for no prompt, another cache or loop, and, compiled, for an input that the steps do not take.
    """
    asked = dict(params)
    ids = asked.get("input_ids")
    if not isinstance(ids, torch.Tensor) or ids.dim() != 2:
        raise _refused("`_generate_params` gives no input_ids of shape (batch, tokens)", "give them as generate() does")
    given = asked.get(GENERATED)
    loop = asked.get("custom_generate")
    if (given is not None and given is not cache) or not (loop is None or isinstance(loop, CompiledLoop)):
        name = "custom_generate" if given is None or given is cache else GENERATED
        raise _refused(f"`_generate_params` gives {name}, which the runner makes itself", f"leave {name} out")
    for name in _REFUSED:
        if asked.get(name) is not None:
            raise _refused(f"the runner decodes greedily or by sampling, and not with {name}", "leave it out")
    others = sorted(name for name in asked if name not in _INPUTS and name not in _TOLD)
    if compiled and others:
        listed = ", ".join(others)
        message = f"compiled steps take input_ids and attention_mask, and `_generate_params` gives {listed} too"
        raise _refused(message, "leave it out, or set execute_mode to `eager`")
    if asked.get("attention_mask") is None:
        asked["attention_mask"] = torch.ones_like(ids)
    return asked


def roomy(settings: Settings, config: GenerationConfig, length: int) -> Settings:
    """`settings` with room for prompts of `length` tokens and what `config` asks for, where these are more."""
    steps = config.max_new_tokens
    if steps is None:
        steps = max(config.max_length - length, 1) if config.max_length is not None else settings.max_new_tokens
    if length <= settings.input_max_len and steps <= settings.max_new_tokens:
        return settings
    wider, longer = max(length, settings.input_max_len), max(steps, settings.max_new_tokens)
    return replace(settings, input_max_len=wider, max_new_tokens=longer)


def with_stops(params: Mapping[str, Any], stops: RowStops) -> dict[str, Any]:
    """The parameters with `stops` beside a user's own criteria; it stands for their stop strings too."""
    others = [criterion for criterion in params.get("stopping_criteria") or () if not isinstance(criterion, RowStops)]
    rest = {name: value for name, value in params.items() if name != "stop_strings"}
    return {**rest, "stopping_criteria": StoppingCriteriaList([*others, stops])}


def _refused(message: str, help: str) -> CannotRun:
    return CannotRun("P089", message, help)

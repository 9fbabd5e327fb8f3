"""What a checkpoint's generation config and a call's settings ask for, sorted out before a token is computed.

Contract: a runner answers each prompt once, greedily or by sampling, with transformers' own processors. What does not
change the tokens (which cache, what is returned beside them) is the runner's to choose; what would, and what cannot be
computed, is CannotRun (P089).
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from transformers import GenerationConfig, LogitsProcessorList

from porter.runner.refusal import CannotRun

# the runner's own, whatever the files say: it needs the tokens only, and has the cache
CHOSEN: dict[str, Any] = {
    "use_cache": True,
    "cache_implementation": None,
    "return_dict_in_generate": False,
    "output_scores": False,
    "output_logits": False,
    "output_attentions": False,
    "output_hidden_states": False,
}
# these keep the states themselves, so that tokens are those of any other cache
_EXACT_CACHES = (None, "dynamic", "static", "hybrid", "sliding_window", "offloaded", "offloaded_static")
_STOPS = {"eos_token_id": int, "stop_strings": str}
_OTHER_ANSWERS = ("num_beams", "num_beam_groups", "num_return_sequences")
_OTHER_WAYS = (
    *("prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp", "dola_layers", "penalty_alpha"),
    *("constraints", "force_words_ids", "token_healing", "is_assistant"),
)
# handed to generate() beside its configuration
_CALLED = ("logits_processor", "stopping_criteria", "streamer", "custom_generate", "tokenizer")


def stored_generation(folder: Path) -> GenerationConfig:
    """The checkpoint's generation config, the default one where it has none. CannotRun where it cannot be read."""
    if not (folder / "generation_config.json").is_file():
        return GenerationConfig()
    try:
        return GenerationConfig.from_pretrained(folder)
    except Exception as error:  # whatever transformers raises for what is in the file
        _refuse(f"`{folder / 'generation_config.json'}` is no generation config: {_first_line(error)}")


def check_ways(own: GenerationConfig, compiled: bool) -> None:
    """CannotRun for more answers than one, and for ways of finding one other than greedy and sampling; and for what
    stops an answer, where that is no tokens and no strings."""
    for name, kind in _STOPS.items():
        value = getattr(own, name, None)
        if value is not None and not all(type(item) is kind for item in _listed(value)):
            _refuse(f"{name} is {value!r}, not one or several of {kind.__name__}")
    asked = {name: getattr(own, name, None) for name in (*_OTHER_ANSWERS, *_OTHER_WAYS)}
    found = {
        name: value
        for name, value in asked.items()
        if value not in (None, False, 0) and not (name in _OTHER_ANSWERS and value == 1)
    }
    if own.cache_implementation not in _EXACT_CACHES:
        found["cache_implementation"] = own.cache_implementation
    if compiled and own.prefill_chunk_size is not None:
        found["prefill_chunk_size"] = own.prefill_chunk_size
    if found:
        listed = ", ".join(f"{name}={value!r}" for name, value in found.items())
        _refuse(f"the runner answers each prompt once, greedily or by sampling, and not with {listed}")


def asked_config(model: Any, params: Mapping[str, Any]) -> GenerationConfig:
    """What `generate(**params)` goes by: the parameters, then the model's own. CannotRun for values it refuses."""
    others = {name: value for name, value in params.items() if name not in ("generation_config", *_CALLED)}
    with _as_transformers_says():
        config, _ = model._prepare_generation_config(params.get("generation_config"), **others)
        config.validate()
        config.get_generation_mode()
    return config


def check_processors(model: Any, config: GenerationConfig) -> None:
    """CannotRun where transformers cannot make its logits processors of what is asked: a temperature of 0, say."""
    with _as_transformers_says():
        config.get_generation_mode()
        special = copy.deepcopy(config)
        model._prepare_special_tokens(special, True, device=model.device)
        model._get_logits_processor(
            special,
            input_ids_seq_length=1,
            encoder_input_ids=None,
            logits_processor=LogitsProcessorList(),
            device=model.device,
            model_kwargs={},
        )


@contextlib.contextmanager
def _as_transformers_says() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever transformers raises for a value
        _refuse(f"transformers cannot generate with these settings: {_first_line(error)}")


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _refuse(message: str) -> NoReturn:
    raise CannotRun("P089", message, "change generation_config.json, or give the setting another value")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

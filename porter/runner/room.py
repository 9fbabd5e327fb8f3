"""Is there room for what is asked: positions of the model, memory of the device. Found out before anything is made.

Contract: a request that is too large is CannotRun (P093) with the figures, and leaves the runner as it was.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from porter.parallel.by_layer import each_layer
from porter.runner.refusal import CannotRun
from porter.runner.settings import Settings

logger = logging.getLogger("porter.runner")
GIB = 1 << 30
_LESS = "lower input_max_len or max_new_tokens, or give fewer prompts"


def check_positions(config: Any, settings: Settings) -> None:
    """CannotRun for more new tokens, or more padding, than the model has positions.

    Up to the settings' defaults nothing is refused: a rotary model goes on behind its positions.
    """
    positions = _positions(config)
    asked = {"max_new_tokens": settings.max_new_tokens}
    if settings.input_padding:
        asked["input_max_len"] = settings.input_max_len
    for name, value in asked.items():
        if positions is not None and value > max(positions, getattr(Settings, name)):
            message = f"{name} is {value:,}, and the model has {positions:,} positions"
            raise CannotRun("P093", message, f"lower {name}")


def check_room(model_class: Any, config: Any, length: int, new_tokens: int) -> None:
    """CannotRun where a row of `length` tokens, padding counted, and the new ones but for the last, which is never
    looked at, are more than the source has room for. It would fail there, in the middle of an answer."""
    field = getattr(model_class, "token_room", None)
    room = None if field is None else getattr(config.get_text_config(decoder=True), field)
    if room is not None and length + new_tokens - 1 > room:
        message = f"a prompt of {length:,} tokens and {new_tokens:,} new ones, and the model has room for {room:,}"
        help = "lower max_new_tokens" if length <= room else "shorten the prompt, or lower input_max_len"
        raise CannotRun("P093", message, help, f"`{field}` of its configuration says so, and padding counts")


def check_memory(config: Any, settings: Settings, batch: int, itemsize: int, device: torch.device) -> None:
    """CannotRun where the KV cache, and the mask of a padded prefill, do not fit the memory that is free."""
    slots = settings.input_max_len + settings.max_new_tokens
    needed = slots * batch * itemsize * _numbers_a_token(config)
    if settings.input_padding:
        needed += batch * settings.input_max_len * slots  # a byte for each query and key
    free = free_memory(device)
    if free is not None and needed > free:
        message = (
            f"{batch} x ({settings.input_max_len:,} + {settings.max_new_tokens:,}) tokens need {needed / GIB:,.1f} GiB "
            f"for the KV cache, and {device} has {free / GIB:,.1f} GiB free"
        )
        raise CannotRun("P093", message, _LESS)


def free_memory(device: torch.device) -> int | None:
    """Bytes; None where nobody says."""
    if device.type != "cpu":
        return int(getattr(torch, device.type).mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


@contextlib.contextmanager
def within_memory(device: torch.device) -> Iterator[None]:
    """What does not fit the device all the same is CannotRun (P093)."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise CannotRun("P093", f"{device} is out of memory", _LESS) from error


def warn_of_positions(config: Any, tokens: int) -> None:
    """Say that answers may go on behind the model's positions: `tokens` counts no padding."""
    positions = _positions(config)
    if positions is not None and tokens > positions:
        logger.warning("up to %d tokens a row, and the model has %d positions", tokens, positions)


def _positions(config: Any) -> int | None:
    found = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def _numbers_a_token(config: Any) -> int:
    """Of keys and values, in all layers, on one rank that holds every head; 0 where the configuration does not say."""
    text = config.get_text_config(decoder=True)
    latent, rope = getattr(text, "kv_lora_rank", None), getattr(text, "qk_rope_head_dim", None)
    if latent and rope:  # one latent for all heads, and one part that turns
        return (getattr(text, "num_hidden_layers", None) or 0) * (latent + rope)
    count = getattr(text, "num_hidden_layers", None) or 0
    shared = getattr(text, "num_kv_shared_layers", None) or 0  # the last ones, which read what others have written
    return sum(_numbers_of(layer) for layer in each_layer(text)[: max(0, count - shared)])


def _numbers_of(layer: Any) -> int:
    """The same of a layer, or of the configuration of all."""
    heads = getattr(layer, "num_key_value_heads", None) or getattr(layer, "num_attention_heads", None) or 0
    head_dim = getattr(layer, "head_dim", None)
    if not head_dim and heads:
        head_dim = layer.hidden_size // layer.num_attention_heads
    return 2 * heads * (head_dim or 0)

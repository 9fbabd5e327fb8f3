"""What a cache of keys and values is called: `past_key_values`, from transformers 5.24 on `cache`.

Contract: asked of the function that is called and of the result that is at hand, so that code of either release, and
code out of a folder that knows the older name only, is called by its own. Nothing is renamed in a call of the user's:
transformers' own decorator does that.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from transformers import GenerationMixin

from porter.release.words import CACHE_BEFORE_5_24, CACHE_SINCE_5_24

_NAMES = (CACHE_SINCE_5_24, CACHE_BEFORE_5_24)


def cache_name(model: Any) -> str:
    """The argument by which a model, or a function, takes its cache."""
    called = getattr(model, "forward", model)
    return CACHE_SINCE_5_24 if CACHE_SINCE_5_24 in inspect.signature(called).parameters else CACHE_BEFORE_5_24


def with_cache(model: Any, cache: Any) -> dict[str, Any]:
    """The cache as the argument of a call of `model`: `model(ids, **with_cache(model, cache))`."""
    return {cache_name(model): cache}


# as generate() takes it, and hands it from step to step
GENERATED = cache_name(GenerationMixin.prepare_inputs_for_generation)


def returned_cache(output: Any) -> Any:
    """The cache in what a model returned; None where there is none."""
    fields = getattr(output, "__dataclass_fields__", ())
    name = next((name for name in _NAMES if name in fields), CACHE_BEFORE_5_24)
    return getattr(output, name, None)


def by_either_name(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function with a `past_key_values` that takes it as `cache` too: ports call it as their source does."""

    @functools.wraps(function)
    def called(*arguments: Any, **options: Any) -> Any:
        if CACHE_SINCE_5_24 in options and CACHE_BEFORE_5_24 not in options:
            options[CACHE_BEFORE_5_24] = options.pop(CACHE_SINCE_5_24)
        return function(*arguments, **options)

    return called

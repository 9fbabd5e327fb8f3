"""What a cache keeps of each layer, as transformers reads a configuration, told alike under each release.

Up to 5.19 `get_layer_types_and_kwargs` gives the options of all layers at once, from 5.20 on those of each layer. From
5.23 on a layer that keeps nothing is a `DummyLayer` with a place of its own, before that it had none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import cache_utils

# Layers whose window an option of all layers speaks of: others of the same model keep every token.
_OF_A_WINDOW = ("sliding_attention", "chunked_attention")


def layer_types_and_options(config: Any) -> tuple[list[str], list[Mapping[str, Any]]]:
    """The kind of each layer, and its options: `sliding_window` where it keeps so many tokens."""
    kinds, options = cache_utils.get_layer_types_and_kwargs(config)
    if not isinstance(options, Mapping):
        return kinds, options
    return kinds, [options if kind in _OF_A_WINDOW else {} for kind in kinds]


def empty_layer() -> Any:
    """The place of a layer that keeps nothing. Releases without such layers name none so."""
    return cache_utils.DummyLayer()

"""What a configuration says of each layer, of those too whose sizes are not the same in all of them.

Contract: pure data; imports neither torch nor transformers. transformers refuses to read a size off a configuration
whose layers have several (`AmbiguousGlobalPerLayerAttributeError`, no AttributeError, so that `getattr` with a default
raises it too), and `hasattr` is no question there either: such sizes are read off the layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def each_layer(text: Any) -> Sequence[Any]:
    """A configuration for each layer, at least one; `text` itself, as often, where all layers are alike.

    `text` is the configuration of a decoder, not of a model of several parts.
    """
    if getattr(text, "is_heterogeneous", False):
        return [*text.per_layer_config]
    return [text] * (getattr(text, "num_hidden_layers", None) or 1)


def in_layers(text: Any, name: str) -> list[Any]:
    """What the layers have by that name, in their order; None for one that has none."""
    return [getattr(layer, name, None) for layer in each_layer(text)]

"""Where a class that a file does not define comes from: is it part of a model, and is a class derived from it a module.

Contract: told from imports alone, nothing is opened. PyTorch's modules and what the source library keeps outside its
models (activations, caches, outputs, utilities) are what every model is made of; all else that is built may compute
anything, so it counts as code of a model that porter has not read.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterable

from porter.tree import Tree

LIBRARY = "transformers"
_PLAIN = frozenset({"numpy", "einops", "packaging", "accelerate", "huggingface_hub", "tqdm", "safetensors", "PIL"})
_MODULES_OF_LIBRARY = frozenset({"PreTrainedModel", "GradientCheckpointingLayer"})
# Modules of PyTorch's that hold whole layers: their insides are as unread as those of another file.
_WHOLE_LAYERS = frozenset(
    {
        *("MultiheadAttention", "Transformer", "RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"),
        *("TransformerEncoder", "TransformerEncoderLayer", "TransformerDecoder", "TransformerDecoderLayer"),
    }
)


def is_elsewhere(name: str, tree: Tree) -> bool:
    """Whether a dotted name that this file does not define is code of a model: of another file, or of nobody known."""
    return any(_is_model_code(meaning) for meaning in _meanings(name, tree))


def is_module_base(base: str, tree: Tree) -> bool:
    """Whether a class derived from `base`, which this file does not define, is a module."""
    name = base.removeprefix("...")
    return any(_is_module(meaning) for meaning in _meanings(name, tree))


def is_of_torch(name: str, tree: Tree) -> bool:
    """Whether a dotted name means something of `torch.nn`."""
    return any(meaning.startswith("torch.nn.") for meaning in _meanings(name, tree))


def _meanings(name: str, tree: Tree) -> Iterable[str]:
    """What a dotted name may mean in full; behind dots that lead nowhere, or where nothing binds it, `?.name`."""
    root, dot, rest = name.partition(".")
    items = tree.alternatives.get(root)
    if not items:
        return () if hasattr(builtins, root) else (f"?.{name}",)
    full = (item.qualified(tree.package) or f"?.{item.module}.{item.name}" for item in items)
    return [f"{meaning}{dot}{rest}" for meaning in full]


def _is_model_code(meaning: str) -> bool:
    parts = meaning.split(".")
    top, last = parts[0], parts[-1]
    if last.endswith("Config") or any(part.startswith("configuration_") for part in parts):
        return False
    if top == "torch":
        return parts[1] == "nn" and last in _WHOLE_LAYERS
    if top == LIBRARY:
        return parts[1] == "models" or (len(parts) == 2 and _is_model_name(last))
    return top not in _PLAIN and top not in sys.stdlib_module_names


def _is_model_name(name: str) -> bool:
    """A name of the library itself, which it takes from one of its models."""
    return name not in _MODULES_OF_LIBRARY and (name.endswith(("Model", "Backbone", "LMHead")) or "For" in name)


def _is_module(meaning: str) -> bool:
    parts = meaning.split(".")
    if parts[0] == "torch":
        return parts[1:2] == ["nn"]
    if parts[0] == LIBRARY and parts[-1] in _MODULES_OF_LIBRARY:
        return True
    return _is_model_code(meaning)

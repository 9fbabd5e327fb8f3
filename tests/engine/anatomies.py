"""Llama's file with its classes built in other ways, and what porter reads out of it."""

from __future__ import annotations

from porter.anatomy import Anatomy, read_anatomy
from porter.diagnostics import Refused
from porter.tree import parse
from tests.engine.sources import Pair, varied

PACKAGE = "transformers.models.llama"
MLP = "self.mlp = LlamaMLP(config)"
MODEL = "self.model = LlamaModel(config)"
LAYER = "class LlamaDecoderLayer("
LAYER_INIT = """    def __init__(self, config: LlamaConfig, layer_idx: int):
        super().__init__()
        self.hidden_size = config.hidden_size
"""


def read(text: str) -> Anatomy:
    """The anatomy of a text as if it were Llama's file."""
    tree = parse(text, "llama", package=PACKAGE)
    assert not isinstance(tree, Refused)
    anatomy = read_anatomy(tree)
    assert not isinstance(anatomy, Refused)
    return anatomy


def before_layer(code: str, *pairs: Pair) -> str:
    """Llama's file with `pairs` replaced and `code` before its layer's class."""
    return varied(*pairs, (LAYER, f"{code}\n\n\n{LAYER}"))

"""Which classes transformers itself counts as causal language models: its own table, read and never imported."""

from __future__ import annotations

from functools import lru_cache

import libcst as cst

from porter.diagnostics import Refused
from porter.source.installed import locate_module
from porter.tree import parse
from porter.tree.fields import walk
from porter.tree.values import text_of_constant

_TABLE = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
_FILE = "transformers.models.auto.modeling_auto"


@lru_cache(maxsize=1)
def causal_names() -> frozenset[str]:
    """Names of the classes behind `AutoModelForCausalLM` of the installed transformers; none where there is none."""
    located = locate_module(_FILE)
    if isinstance(located, Refused):
        return frozenset()
    try:
        lines = located[0].read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return frozenset()
    tree = parse(_statement(lines), _FILE)  # the file is large, and one statement of it is asked for
    if isinstance(tree, Refused):
        return frozenset()
    pairs = (node for node in walk(tree.module) if isinstance(node, cst.Tuple) and len(node.elements) == 2)
    named = (text_of_constant(pair.elements[1].value) for pair in pairs)
    return frozenset(name for name in named if name)


def _statement(lines: list[str]) -> str:
    """The lines of the table: from the one that assigns it to the next that ends a call."""
    start = next((number for number, line in enumerate(lines) if line.startswith(f"{_TABLE} =")), len(lines))
    end = next((number for number, line in enumerate(lines) if number > start and line.rstrip() == ")"), start)
    return "\n".join(lines[start : end + 1]) + "\n"

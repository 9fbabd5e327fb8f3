"""The entry point of a file: its one public class called `*ForCausalLM`. A name decides nothing else."""

from __future__ import annotations

from porter.diagnostics import Diagnostic, Refused
from porter.tree import Tree
from porter.tree.functions import methods


def find_causal_class(tree: Tree, bases: dict[str, tuple[str, ...]]) -> str | Refused:
    """The causal class; P020 when there is none, P021 for several, P022 for one that is no model."""
    causal = [name for name in tree.classes if name.endswith("ForCausalLM") and not name.startswith("_")]
    if len(causal) != 1:
        return _not_one(tree, causal)
    if not _defines_forward(causal[0], tree, bases):
        message = f"`{causal[0]}` is no model: neither it nor a base of it in this file defines `forward`"
        place = tree.span(tree.classes[causal[0]])
        help_text = "name the file that defines the model's layers"
        return Refused((Diagnostic("P022", message, place, help=help_text),))
    return causal[0]


def _not_one(tree: Tree, causal: list[str]) -> Refused:
    if causal:
        place = tree.span(tree.classes[causal[1]])
        message = f"several causal language models in one file: {', '.join(causal)}"
        return Refused((Diagnostic("P021", message, place, help="move each into a file of its own"),))
    first = tree.span(tree.statements[0]) if tree.statements else None
    message = "no model here: the file defines no class `*ForCausalLM`"
    return Refused((Diagnostic("P020", message, first, help="name the modeling file of a causal language model"),))


def _defines_forward(name: str, tree: Tree, bases: dict[str, tuple[str, ...]]) -> bool:
    seen: set[str] = set()
    pending = [name]
    while pending:
        cls = pending.pop()
        if cls in seen or cls not in tree.classes:
            continue
        if "forward" in methods(tree.classes[cls]):
            return True
        seen.add(cls)
        pending += bases[cls]
    return False

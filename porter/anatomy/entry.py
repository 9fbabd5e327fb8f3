"""The entry point of a file: the class that is the causal language model.

It is the one that the checkpoint's `auto_map` names; else the file's one public module called `*ForCausalLM`; else the
one that transformers' own table of causal language models has; else, in files that are not of transformers, the one
that generates. A name decides nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

from porter.anatomy.leaves import is_linear
from porter.anatomy.mapping import causal_names
from porter.anatomy.members import Built
from porter.anatomy.origins import LIBRARY
from porter.anatomy.reach import Bases, is_module
from porter.diagnostics import Diagnostic, Refused, nearest
from porter.tree import Tree
from porter.tree.functions import methods


def find_causal_class(tree: Tree, bases: Bases, built: dict[str, Built], named: str | None = None) -> str | Refused:
    """The causal class. `named`: by `auto_map`.

    P020 when there is none, P021 for several, P022 for one that is no model, P023 for one that is not in the file.
    """
    if named is not None and named not in tree.classes:
        return _not_here(named, tree)
    found = [named] if named is not None else _candidates(tree, bases, built)
    if len(found) != 1:
        return _not_one(tree, found)
    if not _defines(found[0], "forward", tree, bases):
        message = f"`{found[0]}` is no model: neither it nor a base of it in this file defines `forward`"
        place = tree.span(tree.classes[found[0]])
        help_text = "name the file that defines the model's layers"
        return Refused((Diagnostic("P022", message, place, help=help_text),))
    return found[0]


def _candidates(tree: Tree, bases: Bases, built: dict[str, Built]) -> list[str]:
    public = [name for name in tree.classes if not name.startswith("_")]
    called_so = [name for name in public if name.endswith("ForCausalLM")]
    models = [name for name in called_so if is_module(name, bases, tree) or _defines(name, "forward", tree, bases)]
    called_so = models or called_so  # a typed dict of keyword arguments is called so too, and is no model
    if len(called_so) == 1:
        return called_so
    in_table = [name for name in (called_so or public) if name in causal_names()]
    is_library = tree.package is not None and tree.package.split(".")[0] == LIBRARY
    if len(in_table) == 1 or called_so or is_library:
        return in_table if len(in_table) == 1 else called_so or in_table
    generating = [name for name in public if _generates(name, tree, bases)]
    with_head = [name for name in generating if any(map(is_linear, built[name].members.values()))]
    return with_head if len(with_head) == 1 else generating


def _generates(name: str, tree: Tree, bases: Bases) -> bool:
    """Whether a module is made for `generate`, and is more than a base of such."""
    mixed_in = any(base.split(".")[-1] == "GenerationMixin" for cls in _chain(name, bases) for base in bases[cls])
    generates = mixed_in or _defines(name, "prepare_inputs_for_generation", tree, bases)
    return generates and is_module(name, bases, tree) and "forward" in methods(tree.classes[name])


def _not_one(tree: Tree, causal: list[str]) -> Refused:
    if causal:
        place = tree.span(tree.classes[causal[1]])
        message = f"several causal language models in one file: {', '.join(causal)}"
        return Refused((Diagnostic("P021", message, place, help="move each into a file of its own"),))
    first = tree.span(tree.statements[0]) if tree.statements else None
    message = "no model here: the file defines no class `*ForCausalLM`, nor one that transformers maps to causal models"
    return Refused((Diagnostic("P020", message, first, help="name the modeling file of a causal language model"),))


def _not_here(named: str, tree: Tree) -> Refused:
    first = tree.span(tree.statements[0]) if tree.statements else None
    close = nearest(named, tree.classes)
    help_text = f"did you mean `{close[0]}`?" if close else "name the file that defines it"
    message = f"config.json names `{named}` in auto_map, and this file does not define it"
    return Refused((Diagnostic("P023", message, first, help=f"mend auto_map: {help_text}"),))


def _defines(name: str, method: str, tree: Tree, bases: Bases) -> bool:
    return any(method in methods(tree.classes[cls]) for cls in _chain(name, bases))


def _chain(name: str, bases: Bases) -> Iterator[str]:
    """A class and the classes of the file that it derives from."""
    seen: set[str] = set()
    pending: list[str] = [name]
    while pending:
        cls = pending.pop()
        if cls in bases and cls not in seen:
            seen.add(cls)
            yield cls
            pending += bases[cls]

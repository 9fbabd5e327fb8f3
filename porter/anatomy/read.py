"""A parsed module -> its anatomy, read from structure: what `__init__` builds, what `forward` calls."""

from __future__ import annotations

from collections.abc import Iterator

from porter.anatomy.data import Anatomy, Site
from porter.anatomy.entry import find_causal_class
from porter.anatomy.members import bases_of, closure, members_of
from porter.anatomy.roles import read_roles
from porter.diagnostics import Refused
from porter.tree import Function, Tree
from porter.tree.functions import methods, parameter_names


def read_anatomy(tree: Tree) -> Anatomy | Refused:
    """The anatomy of the module's causal LM; P020 to P022 where it has not exactly one."""
    bases = {name: bases_of(node) for name, node in tree.classes.items()}
    causal = find_causal_class(tree, bases)
    if isinstance(causal, Refused):
        return causal
    members = {name: members_of(node, tree) for name, node in tree.classes.items()}
    reached = closure(causal, members, bases, tree)
    roles = read_roles(tree, reached, members, bases, causal)
    return Anatomy(causal, roles, members, bases, tuple(reached), tuple(_sites(tree, roles)))


def _sites(tree: Tree, roles: dict[str, str]) -> Iterator[Site]:
    for name, function in tree.functions.items():
        parameters = parameter_names(function)
        if {"cos", "sin"} <= parameters or "freqs_cis" in parameters:
            yield Site(name, "rotary function", None, function)
    for name, role in roles.items():
        forward = methods(tree.classes[name]).get("forward")
        if forward is not None and not (role == "causal" and _chooses_positions(forward)):
            yield Site(f"{name}.forward", role, name, forward)


def _chooses_positions(forward: Function) -> bool:
    """Logits of chosen positions only are what the source itself offers: nothing to port."""
    return "logits_to_keep" in parameter_names(forward)

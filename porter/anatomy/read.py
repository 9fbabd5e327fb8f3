"""A parsed module -> its anatomy, read from structure: what `__init__` builds, what `forward` calls."""

from __future__ import annotations

from collections.abc import Iterator

from porter.anatomy.data import Anatomy, Site
from porter.anatomy.entry import find_causal_class
from porter.anatomy.members import Built, bases_of, built_by
from porter.anatomy.mentions import Mentions
from porter.anatomy.reach import Bases, Reach, is_module, reach, with_chosen_by_type, with_functions
from porter.anatomy.roles import LEFT_ALONE, read_roles
from porter.diagnostics import Refused
from porter.tree import Function, Node, Tree
from porter.tree.functions import methods, parameter_names

_PARTS = frozenset({"norm", "rotary", *LEFT_ALONE})  # the same wherever they stand


def read_anatomy(tree: Tree, entry: str | None = None) -> Anatomy | Refused:
    """The anatomy of the module's causal LM; `entry`: its name, where a checkpoint says it.

    P020 to P023 where there is not exactly one.
    """
    bases = {name: bases_of(node) for name, node in tree.classes.items()}
    mentions = Mentions(tree)
    built = {name: built_by(node, mentions) for name, node in tree.classes.items()}
    causal = find_causal_class(tree, bases, built, entry)
    if isinstance(causal, Refused):
        return causal
    members = {name: each.members for name, each in built.items()}
    reached = with_chosen_by_type(reach(causal, built, bases, tree), causal, built, bases, tree)
    roles = read_roles(tree, reached, members, bases, causal)
    roles = _with_towers(roles, built, bases, tree, causal)
    unknown = _unknown(tree, reached, roles, bases)
    code = with_functions((tree.classes[name] for name in reached.classes if roles.get(name) != "tower"), tree)
    sites = (*_sites(tree, roles, set(code)), *_unknown_sites(tree, unknown))
    return Anatomy(causal, roles, members, bases, reached.classes, sites, unknown)


def _with_towers(
    roles: dict[str, str], built: dict[str, Built], bases: Bases, tree: Tree, causal: str
) -> dict[str, str]:
    """The roles, with `tower` for what is part of another model inside the decoder: of images, of sound.

    Rules speak of the decoder's own attention and layers, which do not share its cache or its masks.
    """
    models = [name for name, role in roles.items() if role == "model"]
    inner: set[str] = set()
    for model in models:
        below = reach(model, built, bases, tree).built
        inner |= {name for name in models if name in below and name != model}
    outer = reach(causal, built, bases, tree, without=frozenset(inner))
    return {name: role if name in outer.classes or role in _PARTS else "tower" for name, role in roles.items()}


def _unknown(tree: Tree, reached: Reach, roles: dict[str, str], bases: Bases) -> dict[str, Node]:
    """Modules that the model builds and that have no role, in the order of the file; then those of other files."""
    without_role = (name for name in tree.classes if name in reached.built and name not in roles)
    own = (name for name in without_role if is_module(name, bases, tree))
    return {**{name: reached.built[name] for name in own}, **reached.elsewhere}


def _sites(tree: Tree, roles: dict[str, str], code: set[Node]) -> Iterator[Site]:
    """`code` is the decoder's: rotations of a tower are not its sites."""
    for name, function in tree.functions.items():
        parameters = parameter_names(function)
        if function in code and ({"cos", "sin"} <= parameters or "freqs_cis" in parameters):
            yield Site(name, "rotary function", None, function)
    for name, role in roles.items():
        forward = methods(tree.classes[name]).get("forward")
        if role in LEFT_ALONE or forward is None or (role == "causal" and _chooses_positions(forward)):
            continue
        yield Site(f"{name}.forward", role, name, forward)


def _unknown_sites(tree: Tree, unknown: dict[str, Node]) -> Iterator[Site]:
    for name, at in unknown.items():
        if name in tree.classes:
            forward = methods(tree.classes[name]).get("forward")
            yield Site(f"{name}.forward" if forward else name, "unknown", name, forward or tree.classes[name])
        else:
            yield Site(name, "unknown", name, at)


def _chooses_positions(forward: Function) -> bool:
    """Logits of chosen positions only are what the source itself offers: nothing to port."""
    return "logits_to_keep" in parameter_names(forward)

"""The proof of a rule that was just begun: draws for each parameter and attribute, as far as their use tells them.

What is guessed is said beside it; `porter prove` says where a guess does not fit.
"""

from __future__ import annotations

from collections.abc import Iterable

import libcst as cst

from porter.tree import Function, Node, Tree
from porter.tree.functions import body_of, methods, positional
from porter.tree.names import dotted, read_names, self_attribute
from porter.tree.values import is_constant

WIDTH = 64
_STATES = f"draw.normal(2, 7, {WIDTH})"
_GUESS = "  # a guess: give it what the model has"


def proof_of(function: Function, cls: cst.ClassDef | None, tree: Tree, unknown: Iterable[str]) -> str:
    """`proof(draw)`: the arguments of both sides. `unknown` are names of the module that only the file can mean."""
    lines = ["def proof(draw):"]
    is_method = any(parameter.name.value == "self" for parameter in positional(function))
    if is_method:
        lines += ["    self = draw.module(", *(f"        {line}" for line in _attributes(function, cls, tree)), "    )"]
    read = {name for statement in body_of(function) for name in read_names(statement)}
    parameters = [p for p in (*positional(function), *function.params.kwonly_params) if p.name.value in read - {"self"}]
    lines += ["    return {", *(['        "self": self,'] if is_method else [])]
    lines += [f'        "{p.name.value}": {_drawn(p, tree)}' for p in parameters]
    lines += [f'        "{name}": None,{_GUESS}' for name in unknown]
    return "\n".join([*lines, "    }"])


def _drawn(parameter: cst.Param, tree: Tree) -> str:
    """What stands for a parameter: states, unless its annotation or its default says something else."""
    said = tree.code(parameter.annotation.annotation) if parameter.annotation is not None else ""
    if parameter.default is not None and is_constant(parameter.default):
        return f"{tree.code(parameter.default)},"
    kinds = {"int": "2", "float": "0.5", "bool": "False", "str": '""'}
    if said in kinds:
        return f"{kinds[said]},{_GUESS}"
    if "Tensor" in said or not said:
        is_ids = parameter.name.value.endswith(("_ids", "_idx", "_index", "positions"))
        return "draw.integers(0, 7, 2, 7)," if is_ids else f"{_STATES},"
    return f"None,{_GUESS}"


def _attributes(function: Function, cls: cst.ClassDef | None, tree: Tree) -> list[str]:
    """A line for each attribute of `self` that the body reads, and for each of those attributes' own."""
    set_to = _set_in(cls, tree)
    found: dict[str, dict[str, bool]] = {}  # attribute -> attributes of it that are read, and whether they are called
    called: set[str] = set()
    for statement in body_of(function):
        for node in tree.nodes(statement):
            name = self_attribute(node)
            if name is not None:
                found.setdefault(name, {})
                parent = tree.parents.get(node)
                if isinstance(parent, cst.Call) and parent.func is node:
                    called.add(name)
            elif isinstance(node, cst.Attribute) and self_attribute(node.value) is not None:
                found.setdefault(str(self_attribute(node.value)), {})[node.attr.value] = True
    own = methods(cls) if cls is not None else {}
    lines = []
    for name, inner in found.items():
        if inner and name in ("config",):
            fields = ", ".join(f"{each}={WIDTH}" for each in inner)
            lines.append(f"{name}=draw.module({fields}),{_GUESS}")
        elif name in own:
            lines.append(f"{name}=lambda x, *rest: x,{_GUESS}")
        else:
            lines.append(f"{name}={_attribute(name, set_to.get(name), name in called, tree)}")
    return lines


def _attribute(name: str, value: Node | None, called: bool, tree: Tree) -> str:
    if value is not None and is_constant(value):
        return f"{tree.code(value)},"
    maker = (dotted(value.func) or "").split(".")[-1] if isinstance(value, cst.Call) else ""
    if maker == "Linear":
        assert isinstance(value, cst.Call)
        biased = not any(a.keyword and a.keyword.value == "bias" and dotted(a.value) != "True" for a in value.args)
        return f"draw.linear({WIDTH}, {WIDTH}{', bias=True' if biased else ''}),"
    if maker == "Parameter":
        return f"draw.normal({WIDTH}),"
    if isinstance(value, cst.Subscript) and "ACT" in tree.code(value):
        return "torch.nn.functional.silu,"
    if maker in ("SiLU", "GELU", "ReLU", "Tanh", "Sigmoid", "Identity", "Dropout"):
        return f"torch.nn.{maker}().eval(),"
    if called:
        return f"draw.linear({WIDTH}, {WIDTH}),{_GUESS}"
    return "1e-6," if "eps" in name else f"0.5,{_GUESS}"


def _set_in(cls: cst.ClassDef | None, tree: Tree) -> dict[str, Node]:
    """Attribute -> what `__init__` sets it to, the first time."""
    init = methods(cls).get("__init__") if cls is not None else None
    found: dict[str, Node] = {}
    for node in tree.nodes(init) if init is not None else ():
        if isinstance(node, cst.Assign):
            for target in node.targets:
                name = self_attribute(target.target)
                if name is not None:
                    found.setdefault(name, node.value)
    return found

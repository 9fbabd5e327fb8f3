"""A function of a source -> the text of a rule file that takes it: its code as `before` and as `after`, to be changed.

Contract: what is written is a rule: it loads, and its `before` is the function as it stands. Its `after` is the same
code, so until somebody changes that the rule is `not proved` and ports nothing. Annotations, decorators and the
docstring of the function stay behind; functions of the module that it calls come along as `given_*`.
"""

from __future__ import annotations

import builtins
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import libcst as cst

from porter.rulebook.skeleton_proof import proof_of
from porter.tree import Function, Tree
from porter.tree.functions import body_of, every_parameter, positional
from porter.tree.imports import absolute
from porter.tree.names import read_names

_HEAD = '''"""{title}

Why:      say what is gained: kernels, memory, a host sync.
Numerics: say where it rounds, and how that differs from the source.
Contract: say what the op demands: dtypes, shapes, chips.
"""
'''
_ALWAYS = {"torch": "import torch"}


@dataclass(frozen=True)
class Found:
    """The function that a rule is written for: `site` is its name, `kind` that of its class or `function`."""

    tree: Tree
    function: Function
    site: str
    kind: str
    cls: cst.ClassDef | None


def skeleton(found: Found, supersedes: Sequence[str] = ()) -> str:
    """The text of the rule file. `supersedes` are the rules that take the function today."""
    tree, function = found.tree, found.function
    given = _given(tree, _free(function, tree))
    names = sorted({name for each in (function, *given.values()) for name in _free(each, tree)} | {"torch"})
    head = [
        _HEAD.format(title=f"{found.site} -> say into what"),
        _imports(names, tree),
        _declaration(found, supersedes),
    ]
    parts = [
        "\n\n".join(part.strip("\n") for part in head),
        _function("before", function, tree),
        _function("after", function, tree),
        *(_function(f"given_{name}", each, tree, defaults=True) for name, each in given.items()),
        _near_miss(function, tree),
        proof_of(function, found.cls, tree, _unknown(function, tree)),
    ]
    return "\n\n\n".join(part.strip("\n") for part in parts) + "\n"


def parameters_used(function: Function) -> list[str]:
    """Names of parameters that the body reads, in their order, `self` first."""
    read = {name for statement in body_of(function) for name in read_names(statement)}
    return [p.name.value for p in (*positional(function), *function.params.kwonly_params) if p.name.value in read]


def _free(function: Function, tree: Tree) -> set[str]:
    """Names of the module, or Python's, that the body reads."""
    read = {name for statement in body_of(function) for name in read_names(statement)}
    return read - every_parameter(function) - tree.assigned(function) - {"self"}


def _given(tree: Tree, names: Iterable[str]) -> dict[str, Function]:
    """Functions of the module that the code calls, and that those call."""
    found: dict[str, Function] = {}
    pending = sorted(names)
    while pending:
        name = pending.pop()
        if name in tree.functions and name not in found:
            found[name] = tree.functions[name]
            pending += sorted(_free(found[name], tree))
    return dict(sorted(found.items()))


def _unknown(function: Function, tree: Tree) -> list[str]:
    """Names of the module that are neither imported nor functions: classes and constants, which a proof must give."""
    free = (name for name in _free(function, tree) if name not in tree.imports and name not in tree.functions)
    return sorted(name for name in free if not hasattr(builtins, name) or tree.module_bindings[name])


def _imports(names: Iterable[str], tree: Tree) -> str:
    lines = dict(_ALWAYS)
    for name in names:
        item = tree.imports.get(name)
        if item is None:
            continue
        if item.name is None:
            alias = "" if item.module.split(".")[0] == name else f" as {name}"
            lines[name] = f"import {item.module}{alias}"
        else:
            module = absolute(item.module, item.level, tree.package)
            alias = "" if item.name == name else f" as {name}"
            if module is not None:
                lines[name] = f"from {module} import {item.name}{alias}"
    plain = sorted(line for line in lines.values() if line.startswith("import "))
    return "\n".join([*plain, *sorted(set(lines.values()) - set(plain)), "", "from porter.rule import Edit, Rule"])


def _declaration(found: Found, supersedes: Sequence[str]) -> str:
    site = "function" if found.cls is None else f"{found.kind}.{found.function.name.value}"
    names = ", ".join(f'"{name}"' for name in supersedes)
    more = f", supersedes=({names},)" if names else ""
    return f'rule = Rule(edits=(Edit(site="{site}", unit="function"),){more})'


def _function(name: str, function: Function, tree: Tree, *, defaults: bool = False) -> str:
    """The function under another name, without annotations, decorators and docstring."""
    return f"def {name}({_parameters(function, tree, defaults)}):\n{_body(function, tree)}"


def _parameters(function: Function, tree: Tree, whole: bool) -> str:
    """Those that the body reads; of a `given_*` all of them, with their defaults."""
    used = parameters_used(function)
    texts = []
    for parameter in positional(function):
        name = parameter.name.value
        default = f"={tree.code(parameter.default)}" if whole and parameter.default is not None else ""
        if whole or name in used or name == "self":
            texts.append(f"{name}{default}")
    keywords = [p.name.value for p in function.params.kwonly_params if whole or p.name.value in used]
    texts += ["*", *keywords] if keywords else []
    star = function.params.star_kwarg
    read = {name for statement in body_of(function) for name in read_names(statement)}
    if star is not None and star.name.value in read:
        texts.append(f"**{star.name.value}")
    return ", ".join(texts)


def _body(function: Function, tree: Tree) -> str:
    """The lines of the body, four columns in."""
    body = body_of(function)
    if not isinstance(function.body, cst.IndentedBlock):
        return "\n".join(f"    {tree.code(statement)}" for statement in body)
    first, last = tree.line(body[0]), max(tree.places.last_line(statement) for statement in body)
    lines = tree.text.split("\n")[first - 1 : last]
    return textwrap.indent(textwrap.dedent("\n".join(lines)), "    ")


def _near_miss(function: Function, tree: Tree) -> str:
    """The body with another result: what the rule must not take."""
    body = body_of(function)
    last = body[-1]
    returned = last.value if isinstance(last, cst.Return) else None
    head = f"def not_of_another_result({_parameters(function, tree, False)}):\n"
    head += '    """Another result. Put a near miss from a real file here, and say what it differs in."""\n'
    if returned is None:
        return f"{head}{_body(function, tree)}\n    return None\n"
    start, _ = tree.places.range(last)
    first = tree.places.range(body[0])[0]
    indent = first - (tree.text.rfind("\n", 0, first) + 1)
    before = " " * indent + tree.text[first:start] if isinstance(function.body, cst.IndentedBlock) else ""
    changed = f"{' ' * (indent if before else 4)}return ({tree.code(returned)}, None)"
    return head + textwrap.indent(textwrap.dedent(before + changed.lstrip() if before else changed), "    ")

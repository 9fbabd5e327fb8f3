"""Which class is the norm, rotary embedding, attention, MLP, experts, decoder layer, model and LM head.

Read from structure: what `__init__` builds, what `forward` calls. A name alone decides only which class is the entry
point: a public class called `*ForCausalLM`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from porter.diagnostics import Diagnostic, Refused
from porter.parse import Function, Parsed, dotted, methods, self_attribute

ATTENTION_CALLS = frozenset({"softmax", "scaled_dot_product_attention", "get_interface", "flash_attn_func"})
LINEAR = "Linear"


@dataclass(frozen=True)
class Member:
    """`self.<name> = ...` in a class: the classes it may be, and whether it is a list of them."""

    name: str
    classes: tuple[str, ...]
    is_list: bool


@dataclass(frozen=True)
class Site:
    """One function a rule may take: `LlamaAttention.forward`, or a module function."""

    name: str
    kind: str
    owner: str | None
    function: Function = field(compare=False, repr=False)


@dataclass(frozen=True)
class Anatomy:
    causal: str
    roles: dict[str, str]
    members: dict[str, dict[str, Member]]
    bases: dict[str, tuple[str, ...]]
    reached: tuple[str, ...]  # classes of the file that the causal class builds or inherits, in order
    sites: tuple[Site, ...]

    def subclasses(self, name: str) -> tuple[str, ...]:
        """Classes of the file derived from `name`, at any depth."""
        direct = [cls for cls, bases in self.bases.items() if name in bases]
        return tuple(dict.fromkeys(found for cls in direct for found in (cls, *self.subclasses(cls))))

    def pretrained(self) -> tuple[str, ...]:
        """Classes derived from `PreTrainedModel` itself: the file's own base of its models."""
        return tuple(name for name, bases in self.bases.items() if "PreTrainedModel" in bases)

    def of_role(self, role: str) -> tuple[str, ...]:
        """Classes of a role, in the order of the file."""
        return tuple(name for name, has in self.roles.items() if has == role)


def read_anatomy(parsed: Parsed) -> Anatomy | Refused:
    """Read the anatomy of the module's causal LM; P020 when it has none, P021 when it has several."""
    causal = [name for name in parsed.classes if name.endswith("ForCausalLM") and not name.startswith("_")]
    if len(causal) != 1:
        return _no_causal_class(parsed, causal)
    if not _defines_forward(parsed, causal[0]):
        message = f"`{causal[0]}` is no model: neither it nor a base of it in this file defines `forward`"
        place = parsed.span(parsed.classes[causal[0]])
        help_text = "name the file that defines the model's layers"
        return Refused((Diagnostic("P022", message, place, help=help_text),))
    members = {name: _all_members(node) for name, node in parsed.classes.items()}
    bases = {name: tuple(filter(None, map(_last_name, node.bases))) for name, node in parsed.classes.items()}
    reached = _closure(causal[0], members, bases, parsed)
    roles = _roles(parsed, reached, members, bases, causal[0])
    return Anatomy(causal[0], roles, members, bases, tuple(reached), tuple(_sites(parsed, roles)))


def _no_causal_class(parsed: Parsed, causal: list[str]) -> Refused:
    if causal:
        place = parsed.span(parsed.classes[causal[1]])
        message = f"several causal language models in one file: {', '.join(causal)}"
        return Refused((Diagnostic("P021", message, place, help="move each into a file of its own"),))
    first = parsed.span(parsed.tree.body[0]) if parsed.tree.body else None
    message = "no model here: the file defines no class `*ForCausalLM`"
    return Refused((Diagnostic("P020", message, first, help="name the modeling file of a causal language model"),))


def _defines_forward(parsed: Parsed, name: str | None) -> bool:
    node = parsed.classes.get(name or "")
    if node is None:
        return False
    return "forward" in methods(node) or any(_defines_forward(parsed, _last_name(base)) for base in node.bases)


def _last_name(node: ast.expr) -> str | None:
    name = dotted(node)
    return name.split(".")[-1] if name else None


def _all_members(node: ast.ClassDef) -> dict[str, Member]:
    """Members by name; what several branches assign is one member of several classes."""
    found: dict[str, Member] = {}
    for name, member in _members(node):
        known = found.get(name)
        if known is not None:
            classes = tuple(dict.fromkeys((*known.classes, *member.classes)))
            member = Member(name, classes, known.is_list or member.is_list)
        found[name] = member
    return found


def _members(node: ast.ClassDef) -> Iterator[tuple[str, Member]]:
    init = methods(node).get("__init__")
    if init is None:
        return
    for statement in ast.walk(init):
        if not isinstance(statement, ast.Assign):
            continue
        for target in statement.targets:
            name = self_attribute(target)
            if name:
                calls = [call for call in ast.walk(statement.value) if isinstance(call, ast.Call)]
                built = [cls for call in calls if (cls := _last_name(call.func)) and cls[0].isupper()]
                is_list = "ModuleList" in built
                classes = tuple(dict.fromkeys(cls for cls in built if cls != "ModuleList"))
                yield name, Member(name, classes, is_list)


def _closure(
    start: str, members: dict[str, dict[str, Member]], bases: dict[str, tuple[str, ...]], parsed: Parsed
) -> list[str]:
    """Classes the causal class reaches: what it builds, what it inherits, in the order of the file."""
    seen: set[str] = set()
    pending = [start]
    while pending:
        name = pending.pop()
        if name in seen or name not in parsed.classes:
            continue
        seen.add(name)
        pending += [cls for member in members[name].values() for cls in member.classes]
        pending += bases[name]
        # Classes picked from a table (`ATTENTION_CLASSES[...]`) are named in it, not in `__init__`.
        init = methods(parsed.classes[name]).get("__init__")
        tables = set(filter(None, map(_looked_up_table, ast.walk(init)))) if init else set()
        for statement in parsed.tree.body:
            if isinstance(statement, ast.Assign) and any(getattr(t, "id", None) in tables for t in statement.targets):
                pending += [node.id for node in ast.walk(statement.value) if isinstance(node, ast.Name)]
    return [name for name in parsed.classes if name in seen]


def _looked_up_table(node: ast.AST) -> str | None:
    """`TABLE` for `TABLE[...]`."""
    is_lookup = isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id.isupper()
    return node.value.id if is_lookup else None  # type: ignore[attr-defined]


def _roles(
    parsed: Parsed,
    reached: list[str],
    members: dict[str, dict[str, Member]],
    bases: dict[str, tuple[str, ...]],
    causal: str,
) -> dict[str, str]:
    roles: dict[str, str] = {causal: "causal"}
    for name in reached:
        role = _leaf_role(parsed.classes[name], members[name])
        if role and name not in roles:
            roles[name] = role
    for name in reached:  # a class that changes nothing of its base's structure is what its base is
        if name not in roles:
            inherited = [roles[base] for base in bases[name] if base in roles and roles[base] != "causal"]
            if inherited:
                roles[name] = inherited[0]
    listed = {cls for name in reached for member in members[name].values() if member.is_list for cls in member.classes}
    for name in reached:
        held = {roles.get(cls) for member in members[name].values() for cls in member.classes}
        if name not in roles and name in listed and "forward" in methods(parsed.classes[name]) and held & {"attention"}:
            roles[name] = "layer"
    for name in reached:
        lists = [member for member in members[name].values() if member.is_list]
        if name not in roles and any(roles.get(cls) == "layer" for member in lists for cls in member.classes):
            roles[name] = "model"
    return {name: roles[name] for name in parsed.classes if name in roles}


def _leaf_role(node: ast.ClassDef, members: dict[str, Member]) -> str | None:
    forward = methods(node).get("forward")
    if forward is None:
        return None
    helpers = [m for n, m in methods(node).items() if n != "__init__"]  # a norm may do its work in a method beside
    called = {_last_name(call.func) for m in helpers for call in ast.walk(m) if isinstance(call, ast.Call)}
    attributes = set(members)
    linears = [m for m in members.values() if any(LINEAR in cls or cls == "Conv1D" for cls in m.classes)]
    parameters = [m for m in members.values() if "Parameter" in m.classes]
    if {"cos", "sin"} <= called or ("polar" in called and not linears):
        return "rotary"
    is_norm = {"rsqrt", "layer_norm", "rms_norm"} & called or {"pow", "mean"} <= called
    if not linears and is_norm and not any(m.is_list for m in members.values()):
        return "norm"
    if called & ATTENTION_CALLS and linears and not any(m.is_list for m in members.values()) and len(linears) >= 2:
        return "attention"
    if parameters and {"gate_up_proj", "down_proj"} & attributes and not linears:
        return "experts"
    holds_modules = any(cls.endswith(("Attention", "Layer")) for m in members.values() for cls in m.classes)
    if 1 < len(linears) <= 4 and not holds_modules and not parameters and len(called) <= 8:
        return "mlp"
    return None


def _sites(parsed: Parsed, roles: dict[str, str]) -> Iterator[Site]:
    for name, function in parsed.functions.items():
        parameters = {arg.arg for arg in function.args.args}
        if {"cos", "sin"} <= parameters or "freqs_cis" in parameters:
            yield Site(name, "rotary function", None, function)
    for name, role in roles.items():
        forward = methods(parsed.classes[name]).get("forward")
        if forward is not None and not (role == "causal" and _chooses_positions(forward)):
            yield Site(f"{name}.forward", role, name, forward)


def _chooses_positions(forward: Function) -> bool:
    """Logits of chosen positions only are what the source itself offers: nothing to port."""
    return "logits_to_keep" in {arg.arg for arg in forward.args.args}

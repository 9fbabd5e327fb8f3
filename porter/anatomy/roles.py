"""Which class is the norm, rotary embedding, attention, MLP, experts, decoder layer and model, from structure."""

from __future__ import annotations

import libcst as cst

from porter.anatomy.data import Member
from porter.tree import Tree
from porter.tree.functions import methods
from porter.tree.names import last_name

ATTENTION_CALLS = frozenset({"softmax", "scaled_dot_product_attention", "get_interface", "flash_attn_func"})
LINEAR = "Linear"

Members = dict[str, dict[str, Member]]


def read_roles(
    tree: Tree, reached: list[str], members: Members, bases: dict[str, tuple[str, ...]], causal: str
) -> dict[str, str]:
    """Role by class, in the order of the file, for those of the reached classes that have one."""
    roles: dict[str, str] = {causal: "causal"}
    for name in reached:
        role = _leaf_role(tree, tree.classes[name], members[name])
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
        if name not in roles and name in listed and "forward" in methods(tree.classes[name]) and "attention" in held:
            roles[name] = "layer"
    for name in reached:
        lists = [member for member in members[name].values() if member.is_list]
        if name not in roles and any(roles.get(cls) == "layer" for member in lists for cls in member.classes):
            roles[name] = "model"
    return {name: roles[name] for name in tree.classes if name in roles}


def _leaf_role(tree: Tree, node: cst.ClassDef, members: dict[str, Member]) -> str | None:
    """The role of a class that does its work itself: by what it calls and what it holds."""
    own = methods(node)
    if "forward" not in own:
        return None
    helpers = [method for name, method in own.items() if name != "__init__"]  # a norm may do its work beside forward
    called = {last_name(call.func) for m in helpers for call in tree.nodes(m) if isinstance(call, cst.Call)}
    linears = [m for m in members.values() if is_linear(m)]
    parameters = [m for m in members.values() if "Parameter" in m.classes]
    has_lists = any(m.is_list for m in members.values())
    if {"cos", "sin"} <= called or ("polar" in called and not linears):
        return "rotary"
    is_norm = {"rsqrt", "layer_norm", "rms_norm"} & called or {"pow", "mean"} <= called
    if not linears and is_norm and not has_lists:
        return "norm"
    if called & ATTENTION_CALLS and len(linears) >= 2 and not has_lists:
        return "attention"
    if parameters and {"gate_up_proj", "down_proj"} & set(members) and not linears:
        return "experts"
    holds_modules = any(cls.endswith(("Attention", "Layer")) for m in members.values() for cls in m.classes)
    if 1 < len(linears) <= 4 and not holds_modules and not parameters and len(called) <= 8:
        return "mlp"
    return None


def is_linear(member: Member) -> bool:
    """Whether a member is a matrix product with weights of its own."""
    return any(LINEAR in cls or cls == "Conv1D" for cls in member.classes)

"""The role of a class that does its work itself: by what it calls and what it holds."""

from __future__ import annotations

import libcst as cst

from porter.anatomy.data import Member
from porter.tree import Function, Tree
from porter.tree.fields import walk
from porter.tree.functions import body_of, methods, parameter_names
from porter.tree.names import last_name, self_attribute

# Kernels of attention; transformers 4.48 to 4.57 look theirs up in the table.
_KERNELS = frozenset({"scaled_dot_product_attention", "get_interface", "flash_attn_func", "flash_attn_varlen_func"})
_KERNEL_TABLE = "ALL_ATTENTION_FUNCTIONS"
_SOFTMAX = frozenset({"softmax", "Softmax"})
_STATES = frozenset({"past_key_values", "past_key_value", "layer_past", "cache_params", "cache", "state"})
_NONLINEAR = frozenset({"tanh", "erf", "sigmoid", "gelu", "silu", "relu", "softplus", "exp", "apply"})
LINEAR = "Linear"


def leaf_role(tree: Tree, node: cst.ClassDef, members: dict[str, Member]) -> str | None:
    """Rotary, norm, attention, bias, experts, MLP, router, mixer or activation; None for what is none of them."""
    own = methods(node)
    if "forward" not in own:
        return None
    helpers = [method for name, method in own.items() if name != "__init__"]  # a norm may do its work beside forward
    nodes = [below for method in helpers for below in tree.nodes(method)]
    called = {last_name(below.func) for below in nodes if isinstance(below, cst.Call)}
    linears = [m for m in members.values() if is_linear(m)]
    parameters = [m for m in members.values() if "Parameter" in m.classes]
    has_lists = any(m.is_list and m.classes for m in members.values())  # `self.sizes[kind] = 3` makes none
    if not has_lists and ({"cos", "sin"} <= called or ("polar" in called and not linears)):
        return "rotary"
    is_norm = {"rsqrt", "layer_norm", "rms_norm"} & (called - set(members)) or {"pow", "mean"} <= _methods_called(nodes)
    if not linears and is_norm and not has_lists:
        return "norm"
    has_kernel = bool(called & _KERNELS) or (_KERNEL_TABLE in tree.imports and _names(nodes, _KERNEL_TABLE))
    if has_kernel or (_softens(called, members, tree) and len(linears) >= 2 and not has_lists):
        return "attention"
    if parameters and not linears and _adds(own["forward"], set(members)):
        return "bias"
    if parameters and {"gate_up_proj", "down_proj"} & set(members) and not linears:
        return "experts"
    held = [cls for m in members.values() for cls in m.classes]
    holds_modules = any(cls.endswith(("Attention", "Layer", "Experts")) for cls in held)
    if 1 < len(linears) <= 4 and not holds_modules and not parameters and len(called) <= 8:
        return "mlp"
    chooses = "topk" in called
    if chooses and len(linears) <= 1 and (linears or parameters or _is_product(node)) and not has_lists:
        return "router"
    has_state = bool(parameter_names(own["forward"]) & _STATES) or "Conv1d" in held
    if has_state and linears and not chooses and not holds_modules and not has_lists:
        return "mixer"
    is_alone = not members and all(last_name(base.value) == "Module" for base in node.bases)
    return "activation" if is_alone and called & _NONLINEAR and _takes_one(own["forward"]) else None


def _methods_called(nodes: list[cst.CSTNode]) -> set[str | None]:
    """Last names of what is called, also of a method of what another call gives: `x.pow(2).mean(-1)`."""
    functions = (node.func for node in nodes if isinstance(node, cst.Call))
    return {func.attr.value if isinstance(func, cst.Attribute) else last_name(func) for func in functions}


def _softens(called: set[str | None], members: dict[str, Member], tree: Tree) -> bool:
    """Whether a softmax is taken: here, by a module that is held, or in a function of the file that is called."""
    if called & _SOFTMAX or any("Softmax" in member.classes for member in members.values()):
        return True
    functions = (tree.functions[name] for name in called if name in tree.functions)
    calls = (below for function in functions for below in tree.nodes(function) if isinstance(below, cst.Call))
    return any(last_name(call.func) in _SOFTMAX | _KERNELS for call in calls)


def _names(nodes: list[cst.CSTNode], name: str) -> bool:
    return any(node.__class__ is cst.Name and node.value == name for node in nodes)


def _adds(forward: Function, members: set[str]) -> bool:
    """Whether all a forward does is to add a member to its one argument."""
    *steps, last = (statement for statement in body_of(forward))
    total = last.value if isinstance(last, cst.Return) else None
    if steps or not isinstance(total, cst.BinaryOperation) or not isinstance(total.operator, cst.Add):
        return False
    sides = (total.left, total.right)
    given = [side for side in sides if isinstance(side, cst.Name) and side.value in parameter_names(forward)]
    return len(given) == 1 and any(self_attribute(node) in members for side in sides for node in walk(side))


def _takes_one(forward: Function) -> bool:
    """Whether a forward has one argument and hangs on nothing of its module."""
    return len(parameter_names(forward) - {"self"}) == 1 and "self" in parameter_names(forward)


def _is_product(node: cst.ClassDef) -> bool:
    return any(last_name(base.value) == LINEAR for base in node.bases)


def is_linear(member: Member) -> bool:
    """Whether a member is a matrix product with weights of its own."""
    return any(cls.endswith((LINEAR, "Conv1D")) for cls in member.classes)

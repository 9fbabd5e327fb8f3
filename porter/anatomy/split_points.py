"""Where tensor parallelism sums over ranks: the row-parallel linears of a decoder layer, from structure.

The output linear of an attention or MLP class is the one whose input no other linear of the class consumes further:
its result leaves the class. What the configuration's `base_model_tp_plan` says is compared, not trusted.
"""

from __future__ import annotations

from dataclasses import dataclass

import libcst as cst

from porter.anatomy.configuration import ConfigDefaults
from porter.anatomy.data import Anatomy
from porter.anatomy.leaves import is_linear
from porter.tree import Tree
from porter.tree.functions import methods
from porter.tree.names import self_attribute


@dataclass(frozen=True)
class SplitPoints:
    """Where tensor parallelism sums over ranks: the outputs of row-parallel linears, as paths inside the layer."""

    module: str  # "modeling_llama"
    layer_class: str  # "LlamaDecoderLayer"
    row_parallel: tuple[str, ...]  # ("self_attn.o_proj", "mlp.down_proj")
    checked_against: str | None  # "base_model_tp_plan"
    notes: tuple[str, ...]


def find_split_points(tree: Tree, anatomy: Anatomy, defaults: ConfigDefaults, module: str) -> SplitPoints | None:
    """Split points of the first decoder layer class; None when the model has no layer of its own."""
    layers = anatomy.of_role("layer")
    if not layers:
        return None
    layer = layers[0]
    found: list[str] = []
    notes: list[str] = [f"`{other}` is another layer class" for other in layers[1:]]
    for name, member in anatomy.members[layer].items():
        for cls in member.classes:
            role = anatomy.roles.get(cls)
            if role in ("attention", "mlp"):
                output = _output_linear(tree, anatomy, cls)
                if output and f"{name}.{output}" not in found:
                    found.append(f"{name}.{output}")
            elif role == "experts" or (role is None and _holds_experts(anatomy, cls)):
                notes.append(f"`{name}` may hold experts: their split is not in this list")
    plan = defaults.values.get("base_model_tp_plan")
    checked = None
    if isinstance(plan, dict):
        planned = {key.removeprefix("layers.*.") for key, style in plan.items() if style.startswith("rowwise")}
        notes += [f"the configuration's plan also splits `{key}` by rows" for key in sorted(planned - set(found))]
        notes += [f"the configuration's plan does not split `{key}` by rows" for key in found if key not in planned]
        checked = "base_model_tp_plan"
    return SplitPoints(module, layer, tuple(found), checked, tuple(dict.fromkeys(notes)))


def _holds_experts(anatomy: Anatomy, cls: str) -> bool:
    return any(anatomy.roles.get(c) == "experts" for m in anatomy.members.get(cls, {}).values() for c in m.classes)


def _output_linear(tree: Tree, anatomy: Anatomy, cls: str) -> str | None:
    """The linear whose result goes through no other: the last one in the text that is not an argument of another."""
    linears = {member.name for member in anatomy.members[cls].values() if is_linear(member)}
    forward = methods(tree.classes[cls]).get("forward")
    if forward is None:
        return None
    calls = [n for n in tree.nodes(forward) if isinstance(n, cst.Call) and self_attribute(n.func) in linears]
    inner = {node for call in calls for argument in call.args for node in tree.nodes(argument.value)}
    outer = [call for call in calls if call not in inner]
    return self_attribute(outer[-1].func) if outer else None

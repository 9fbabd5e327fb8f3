"""Where tensor parallelism sums over ranks: the row-parallel linears of a decoder layer, from structure.

The output linear of an attention or MLP class is the one whose input no other linear of the class consumes further:
its result leaves the class. What the configuration's `base_model_tp_plan` says is compared, not trusted.
"""

from __future__ import annotations

import ast

from porter.anatomy import Anatomy
from porter.config import ConfigDefaults
from porter.parse import Parsed, methods, self_attribute
from porter.ported import SplitPoints


def find_split_points(parsed: Parsed, anatomy: Anatomy, defaults: ConfigDefaults, module: str) -> SplitPoints | None:
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
                output = _output_linear(parsed, anatomy, cls)
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


def _output_linear(parsed: Parsed, anatomy: Anatomy, cls: str) -> str | None:
    linears = {m.name for m in anatomy.members[cls].values() if any("Linear" in c or c == "Conv1D" for c in m.classes)}
    forward = methods(parsed.classes[cls]).get("forward")
    if forward is None:
        return None
    calls = [node for node in ast.walk(forward) if isinstance(node, ast.Call) and self_attribute(node.func) in linears]
    inner = {id(node) for call in calls for argument in call.args for node in ast.walk(argument)}
    outer = [call for call in calls if id(call) not in inner]
    last = max(outer, key=lambda call: (call.lineno, call.col_offset), default=None)
    return self_attribute(last.func) if last is not None else None

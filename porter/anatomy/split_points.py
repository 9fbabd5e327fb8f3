"""Where tensor parallelism sums over ranks: row-parallel linears and experts of a decoder layer, from structure.

The output linear of an attention or MLP class is the one whose input no other linear of the class consumes further:
its result leaves the class. What the configuration's `base_model_tp_plan` says is compared, not trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst

from porter.anatomy.configuration import ConfigDefaults
from porter.anatomy.data import Anatomy
from porter.anatomy.leaves import is_linear
from porter.tree import Tree
from porter.tree.functions import methods
from porter.tree.names import self_attribute

_SUMMED_EXPERTS = "moe_tp_experts"  # how a plan says that experts give a part of a sum


@dataclass(frozen=True)
class SplitPoints:
    """Where tensor parallelism sums over ranks: the outputs of row-parallel linears, and what experts that are split
    give, as paths inside the layer."""

    module: str  # "modeling_llama"
    layer_class: str  # "LlamaDecoderLayer"
    row_parallel: tuple[str, ...]  # ("self_attn.o_proj", "mlp.down_proj")
    checked_against: str | None  # "base_model_tp_plan"
    notes: tuple[str, ...]


def find_split_points(
    tree: Tree, anatomy: Anatomy, defaults: ConfigDefaults, module: str, split: frozenset[str] = frozenset()
) -> SplitPoints | None:
    """Split points of the first decoder layer class; None when the model has no layer of its own.

    `split`: classes whose weights rules say how to split. Experts among them give a part of a sum, as a linear does.
    """
    layers = anatomy.of_role("layer")
    if not layers:
        return None
    layer = layers[0]
    notes: dict[str, None] = dict.fromkeys(f"`{other}` is another layer class" for other in layers[1:])
    found: list[str] = []
    for path, cls in _below(layer, anatomy):
        role = anatomy.roles.get(cls)
        if role in ("attention", "mlp"):
            output = _output_linear(tree, anatomy, cls)
            found += [f"{path}.{output}"] if output else []
        elif role == "experts" and cls in split:
            found.append(path)
        elif role == "experts":
            notes[f"no rule says how to split `{path}`, experts of class `{cls}`"] = None
    outputs = tuple(dict.fromkeys(found))
    plan = defaults.values.get("base_model_tp_plan")
    if isinstance(plan, dict):
        notes.update(dict.fromkeys(_differences(outputs, plan)))
    checked = "base_model_tp_plan" if isinstance(plan, dict) else None
    return SplitPoints(module, layer, outputs, checked, tuple(notes))


def _below(cls: str, anatomy: Anatomy, path: str = "", depth: int = 3) -> Iterator[tuple[str, str]]:
    """Path and class of what a layer holds, and its blocks of experts; in a list of modules nothing has one path."""
    for name, member in anatomy.members.get(cls, {}).items() if depth else ():
        for held in () if member.is_list else member.classes:
            yield f"{path}{name}", held
            if anatomy.roles.get(held) == "moe" or _holds_experts(held, anatomy):
                yield from _below(held, anatomy, f"{path}{name}.", depth - 1)


def _holds_experts(cls: str, anatomy: Anatomy) -> bool:
    return any(anatomy.roles.get(c) == "experts" for m in anatomy.members.get(cls, {}).values() for c in m.classes)


def _differences(outputs: tuple[str, ...], plan: dict[str, str]) -> Iterator[str]:
    """Where the configuration's plan sums, and the split points do not, or the other way round."""
    by_rows = {key.removeprefix("layers.*.") for key, style in plan.items() if style.startswith("rowwise")}
    summed = {key.removeprefix("layers.*.") for key, style in plan.items() if style == _SUMMED_EXPERTS}
    planned = {key for key in by_rows if key.rpartition(".")[0] not in summed} | summed
    yield from (f"the configuration's plan also splits `{key}` by rows" for key in sorted(planned - set(outputs)))
    yield from (f"the configuration's plan does not split `{key}` by rows" for key in outputs if key not in planned)


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

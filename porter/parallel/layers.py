"""The layers of a port, and what is known of how ranks share each of their weights.

Contract: nothing is changed here. Every weight of every layer is an output of the policy, a linear known to be cut by
rows, split as the port's `weight_splits` say, or on every rank; and what comes of a part is summed before anybody else
reads it. All else is CannotShard, with the place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from porter.parallel.divide import CannotShard
from porter.parallel.rows import check_merges, merges_in
from porter.runtime.splits import WeightSplit, splits_of
from porter.runtime.weights import RowMerge

_COLUMN = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")  # cut by rows in modules that no plan speaks of
# DeepSpeed guesses a layout of parts for linears of these names, from the name of the layer's class
_GUESSED = ("qkv_proj", "query_key_value", "Wqkv", "W_pack", "c_attn", "gate_up_proj", "dense_h_to_4h")
_MISTAKEN = ("Yuan",)  # DeepSpeed takes layers in whose text it finds such a word for another model's: `HunYuan...`
_OF_LINEARS = ("colwise", "rowwise")
_PLANNED = (*_OF_LINEARS, "replicated_with_grad_allreduce")


@dataclass(frozen=True)
class Held:
    """A weight, or a module of weights, that the port says how to split. `path`: inside its layer."""

    split: WeightSplit
    path: str
    owner: nn.Module

    @property
    def weights(self) -> list[nn.Parameter]:
        """The parameter, or those of the module."""
        found = getattr(self.owner, self.split.name)
        return [found] if isinstance(found, nn.Parameter) else list(found.parameters())


class Layer:
    """One layer, seen by paths: `outputs` are those of the policy's that it has."""

    def __init__(self, layer: nn.Module, outputs: Sequence[str], splits: Sequence[WeightSplit]) -> None:
        self.module = layer
        self.modules = dict(layer.named_modules())
        self.linears = {path: module for path, module in self.modules.items() if isinstance(module, nn.Linear)}
        self.outputs = [output for output in outputs if output in self.modules]
        self.held = [
            Held(split, f"{path}.{split.name}" if path else split.name, owner)
            for split in splits
            for path, owner in split.owners(layer)
        ]

    @property
    def summing(self) -> set[str]:
        """Modules whose result is a sum over ranks: those with an output, and experts."""
        return {parent(output) if output in self.linears else output for output in self.outputs}

    def summing_at(self, path: str) -> str | None:
        """The module whose sum a weight is a part of, if any."""
        return next((module for module in self.summing if is_at_or_below(parent(path), module)), None)

    def says(self, path: str) -> Held | None:
        """What the port says of a weight or a linear, by itself or by the module around it."""
        return next((held for held in self.held if is_at_or_below(path, held.path)), None)

    @property
    def own_linears(self) -> dict[str, nn.Linear]:
        """Linears that are split here, or on every rank; the others are DeepSpeed's."""
        return {path: linear for path, linear in self.linears.items() if self.says(path)}

    @property
    def experts(self) -> list[nn.Module]:
        """Modules that give a part of a sum, and are no linears."""
        return [self.modules[output] for output in self.outputs if output not in self.linears]


@dataclass(frozen=True)
class Layers:
    """All of a model. `merges`: each merged projection, with the module that owns it."""

    each: tuple[Layer, ...]
    merges: tuple[tuple[RowMerge, nn.Module], ...]


def layers_to_split(model: Any, layer_class: str, outputs: Sequence[str], world_size: int) -> Layers:
    """The layers of class `layer_class`, each of whose weights can be split over `world_size` ranks, or is to be whole.

    `outputs`: the injection policy's; a layer has those of its kind, dense or with experts. Raises CannotShard for
    what nobody has shown how to split, and for what does not divide.
    """
    layers = [module for module in model.modules() if type(module).__name__ == layer_class]
    if not layers:
        raise CannotShard(f"the model has no {layer_class}, which its injection policy names")
    splits = splits_of(model)
    found = tuple(Layer(layer, outputs, splits) for layer in layers)
    own = {id(linear) for layer in found for linear in layer.own_linears.values()}
    merges = tuple(each for each in merges_in(model, layers) if id(getattr(each[1], each[0].name)) not in own)
    parts = {merge.name: merge.parts for merge, _ in merges}
    plan = _layer_plan(model.config)
    _check_plan(plan, found, parts)
    for index, layer in enumerate(found):
        place = f"{layer_class} {index}"
        _check_linears(layer, place, plan, parts)
        _check_sums(layer, place)
        _check_weights(layer, place, plan, model.config)
        _check_sizes(layer, place, world_size)
    check_merges(merges, world_size)
    return Layers(found, merges)


def _check_plan(plan: dict[str, str], layers: Sequence[Layer], parts: dict[str, tuple[str, ...]]) -> None:
    """What the configuration's plan asks for, and layers have, is done here."""
    known = {path for layer in layers for held in layer.held for path in (held.path, parent(held.path))}
    known.update(output for layer in layers for output in layer.outputs)
    names = {path for layer in layers for path in _names_in(layer, parts)}
    for path, style in plan.items():
        if style not in _PLANNED and path not in known and path in names:
            raise CannotShard(f"the configuration's plan has {style!r} for `{path}`: that split is not done here")


def _names_in(layer: Layer, parts: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """Paths by which a plan may name what is in a layer: merged projections are named by their parts."""
    yield from (path for path, _ in layer.module.named_parameters())
    for path in layer.modules:
        yield path
        owner, _, name = path.rpartition(".")
        yield from (f"{owner}.{part}" if owner else part for part in parts.get(name, ()))


def _check_linears(layer: Layer, place: str, plan: dict[str, str], parts: dict[str, tuple[str, ...]]) -> None:
    mistaken = next((word for word in _MISTAKEN if word in str(layer.module)), None)
    if mistaken is not None:
        raise CannotShard(f"{place}: DeepSpeed finds `{mistaken}` in its name, and cuts it as another model's layers")
    for path in sorted(layer.linears.keys() - set(layer.outputs) - layer.own_linears.keys()):
        owner, _, name = path.rpartition(".")
        if name in _GUESSED:
            raise CannotShard(f"{place}: DeepSpeed guesses the parts of a linear called `{name}`, and may be wrong")
        is_planned = any(parent(planned) == owner for planned, style in plan.items() if style in _OF_LINEARS)
        for part in parts.get(name, (name,)):
            style = plan.get(f"{owner}.{part}" if owner else part)
            if style != "colwise" and (is_planned or part not in _COLUMN):
                raise CannotShard(f"{place}: nothing says how to split `{path}` over ranks")


def _check_sums(layer: Layer, place: str) -> None:
    """What comes of a part of a weight stays in a module whose result is summed."""
    cut = {held.path for held in layer.held if held.split.how != "whole"}
    cut |= layer.linears.keys() - set(layer.outputs) - layer.own_linears.keys()
    for path in sorted(cut):
        if parent(path) not in layer.summing:
            raise CannotShard(f"{place}: nothing sums over ranks what comes of `{path}`")
    for output in set(layer.outputs) - layer.linears.keys():
        if not any(parent(held.path) == output for held in layer.held):
            raise CannotShard(f"{place}: `{output}` is no linear, and nothing says how its weights are split")


def _check_weights(layer: Layer, place: str, plan: dict[str, str], config: Any) -> None:
    """Weights that nothing speaks of are whole: of experts they may not be, nor where there are parts of heads."""
    for path, parameter in layer.module.named_parameters():
        owner = parent(path)
        if owner in layer.linears or layer.says(path):
            continue
        if parameter.dim() > 2:
            shape = tuple(parameter.shape)
            raise CannotShard(f"{place}: `{path}` is {shape}: nothing says how such weights are split over ranks")
        inside = layer.summing_at(path)
        if inside is None or parameter.numel() == 1 or plan.get(owner) == "replicated_with_grad_allreduce":
            continue
        # a number for each head or channel, of which a rank has a part; but for those that all heads have in common
        is_common = tuple(parameter.shape) == (_head_dim(layer.modules[inside], config),) and not _is_one_of_many(path)
        if owner == inside or not is_common:
            raise CannotShard(f"{place}: nothing says how to split `{path}` over ranks")
    for path, buffer in layer.module.named_buffers():
        if buffer.numel() > 1 and layer.summing_at(path) is not None and not layer.says(path):
            raise CannotShard(f"{place}: nothing says how to split `{path}` over ranks")


def _check_sizes(layer: Layer, place: str, world_size: int) -> None:
    for held in layer.held:
        if held.path in layer.linears and held.split.is_cut and held.split.dimension != 0:
            raise CannotShard(f"{place}: `{held.path}` is a linear, of which only rows are split here")
        faults = (held.split.fault(weight.shape, world_size) for weight in held.weights)
        fault = next((fault for fault in faults if fault), None)
        if fault is not None:
            raise CannotShard(f"{place}: `{held.path}` {fault} over tensor-parallel size {world_size}")


def _layer_plan(config: Any) -> dict[str, str]:
    """`self_attn.q_proj` -> `colwise`: the layers' part of the configuration's own tensor-parallel plan."""
    plan = getattr(config.get_text_config(decoder=True), "base_model_tp_plan", None) or {}
    return {path.partition("layers.*.")[2]: style for path, style in plan.items() if "layers.*." in path}


def _head_dim(attention: nn.Module, config: Any) -> int:
    text = config.get_text_config(decoder=True)
    known = getattr(attention, "head_dim", None) or getattr(text, "head_dim", None)
    return known or text.hidden_size // text.num_attention_heads


def _is_one_of_many(path: str) -> bool:
    """In a list of modules: there may be one for each head."""
    return any(name.isdigit() for name in path.split("."))


def parent(path: str) -> str:
    return path.rpartition(".")[0]


def is_at_or_below(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}.")

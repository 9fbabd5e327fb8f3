"""Layer by layer, the port on the device beside its source, until the first layer that differs, named with its op.

Contract: each layer of the port is given what the source's layer was given, so that an error of one is not an error of
the next; the truth of a layer is the source's layer in float32 on those inputs. Prompts are padded on the left; what
stands at padding need only be finite. Of the first layer that differs every op is computed again on the host, by
porter's kernel on the same values, and the first that is not within the error rule is named.
The source may be gone when the port is loaded: what is kept of it is on the host.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from porter.accept.calls import TORCHS_OWN
from porter.accept.device_model import rehearsed
from porter.accept.errors import beside_source
from porter.accept.judge import beside, truth_of, widened
from porter.accept.model import small_model
from porter.accept.probe import DIFFERS, Say
from porter.accept.sides import Sides, answered, by_name
from porter.npu import ContractError
from porter.runtime import position_ids_from_mask
from porter.verify.port import Port

ROWS, LENGTH = 8, 12


@dataclass
class Passed:
    """What went through the source's layers: outputs and truths (ROWS, LENGTH, H), on the host; the batch."""

    batch: dict[str, torch.Tensor]
    outputs: list[torch.Tensor] = field(default_factory=list)
    truths: list[torch.Tensor] = field(default_factory=list)

    @property
    def real(self) -> torch.Tensor:
        return self.batch["attention_mask"].bool()


def small_by_layer(port: Port, sides: Sides, dtype: torch.dtype, say: Say) -> None:
    """The small model: the source on the host, the port on the device."""
    with small_model(port) as small:
        passed = through_source(small.source(dtype), torch.device("cpu"))
        through_port(small.port(dtype).to(sides.device), passed, sides, say)


def through_source(model: Any, device: torch.device) -> Passed:
    """Run the source once, keeping what each layer gave and what it would give in float32."""
    passed = Passed(_batch(model))
    layers = layers_of(model)

    def keep(layer: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        wide = copy.deepcopy(layer).float()
        wide._forward_hooks.clear()
        truth = _states(wide(*tree_map(widened_there, args), **tree_map(widened_there, kwargs)))
        passed.outputs.append(_states(output).cpu())
        passed.truths.append(truth.float().cpu())

    hooks = [layer.register_forward_hook(keep, with_kwargs=True) for layer in layers]
    with torch.no_grad():
        model(**{name: value.to(device) for name, value in passed.batch.items()}, use_cache=False)
    for hook in hooks:
        hook.remove()
    return passed


def through_port(model: Any, passed: Passed, sides: Sides, say: Say) -> None:
    """Say an entry for each layer up to the first that differs."""
    given: list[torch.Tensor] = []

    def exchange(layer: nn.Module, args: Any, output: Any) -> Any:
        states = _states(output)
        given.append(states.cpu())
        told = passed.outputs[len(given) - 1].to(states)
        return (told, *output[1:]) if isinstance(output, tuple) else told

    _run(model, passed, sides, exchange, rehearsed(sides))
    for number, states in enumerate(given):
        entry = _compared(states, passed, number)
        if entry["outcome"] == DIFFERS:
            op = _first_wrong_op(model, passed, sides, number)
            entry["detail"] = "; ".join(filter(None, (entry["detail"], op)))
        say({"call": f"layer {number}", "dtype": str(states.dtype).removeprefix("torch."), **entry})
        if entry["outcome"] == DIFFERS:
            return


def _compared(states: torch.Tensor, passed: Passed, number: int) -> dict[str, Any]:
    real = passed.real
    if not bool(states.isfinite().all()):
        where = "" if not bool(states[real].isfinite().all()) else ", at padding alone"
        return {"outcome": DIFFERS, "detail": f"not finite{where}", "figures": {}}
    rows = [one.masked_fill(~real[..., None], 0.0) for one in (states, passed.outputs[number], passed.truths[number])]
    entry = beside_source(*rows)
    largest = float(states[real].abs().max())
    return {**entry, "detail": "; ".join(filter(None, (entry["detail"], f"largest state {largest:.3g}")))}


def _first_wrong_op(model: Any, passed: Passed, sides: Sides, number: int) -> str:
    """Run the port again, with every op of one layer computed on the host too."""
    checked = CheckedOps(sides)
    at = [0]

    def exchange(layer: nn.Module, args: Any, output: Any) -> Any:
        told = passed.outputs[at[0]].to(_states(output))
        at[0] += 1
        checked.active = at[0] == number
        return (told, *output[1:]) if isinstance(output, tuple) else told

    checked.active = number == 0
    _run(model, passed, sides, exchange, checked)
    return checked.told()


class CheckedOps(TorchDispatchMode):
    """The ops of a model, or what stands in for them; while `active` on the host too: the first that differs is
    `wrong`."""

    def __init__(self, sides: Sides) -> None:
        super().__init__()
        self.sides, self.active, self.count = sides, False, 0
        self.wrong: tuple[str, dict[str, Any]] | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace in TORCHS_OWN or not self.active or self.wrong is not None:
            return self.sides.call(func, args, kwargs)
        op, values = func._schema.name, by_name(func, args, kwargs)
        before = tree_map(lambda value: value.cpu().clone() if isinstance(value, torch.Tensor) else value, values)
        result = self.sides.call(func, args, kwargs)
        self.count += 1
        entry = self._entry(op, before, values, result)
        if entry["outcome"] == DIFFERS:
            self.wrong = op, entry
        return result

    def _entry(self, op: str, before: dict[str, Any], values: dict[str, Any], result: Any) -> dict[str, Any]:
        device = tree_map(
            lambda value: value.cpu() if isinstance(value, torch.Tensor) else value, answered(op, result, values)
        )
        try:
            host = self.sides.on_host(op, before)
        except ContractError as error:
            return {"outcome": DIFFERS, "detail": f"what it is called with is against its contract: {error}"}
        return beside(host, device, truth_of(op, before, self.sides, host))

    def told(self) -> str:
        if self.wrong is None:
            return f"none of its {self.count} NPU ops differs by itself: look at the products and masks between them"
        op, entry = self.wrong
        return f"the first op that differs is {op.partition('::')[2]}: {entry['detail']}"


def layers_of(model: Any) -> list[nn.Module]:
    """The decoder's layers. Raises RuntimeError where there is no list as long as the configuration says."""
    count = model.config.get_text_config(decoder=True).num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return list(module)
    raise RuntimeError(f"the model has no list of {count} layers")


def widened_there(value: Any) -> Any:
    """float32 of the same values, where they are."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return value
    return widened(value) if value.is_cpu else value.float()


def _run(model: Any, passed: Passed, sides: Sides, hook: Any, mode: Any) -> None:
    with _hooked(layers_of(model), hook), torch.no_grad(), mode:
        model(**{name: value.to(sides.device) for name, value in passed.batch.items()}, use_cache=False)


@contextmanager
def _hooked(layers: list[nn.Module], hook: Any) -> Iterator[None]:
    hooks = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()


def _states(output: Any) -> torch.Tensor:
    """The hidden states of what a layer gives, alone or first in a tuple."""
    states = output[0] if isinstance(output, tuple) else output
    assert isinstance(states, torch.Tensor)
    return states


def _batch(model: Any) -> dict[str, torch.Tensor]:
    """Prompts of unequal lengths, padded on the left."""
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    ids = torch.randint(3, vocabulary, (ROWS, LENGTH), generator=torch.Generator().manual_seed(7))
    lengths = torch.arange(ROWS) % 4 * 3  # 0, 3, 6 or 9 of padding
    mask = (torch.arange(LENGTH) >= lengths[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask, "position_ids": position_ids_from_mask(mask)}

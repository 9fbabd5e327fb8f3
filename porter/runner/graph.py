"""Prefill and decode, the two steps that are compiled, each as one graph.

Contract: for one shape of cache there is one decode graph, and one prefill graph: of one prompt length with padding,
of every length without. Where an op takes the number of tokens as a constant, as `npu_moe_init_routing_v2` does, there
is a prefill graph for each length instead. A step checks on the host that the cache has room for it, then runs without
asking the device.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from torch.fx.experimental.symbolic_shapes import ConstraintViolationError

import porter
from porter.runner.backends import Backend, compile_step
from porter.runner.unsaid import unsaid
from porter.runtime import StaticKVCache, tabulate_rotary
from porter.runtime.cache_name import cache_name

logger = logging.getLogger(__name__)

_EACH = "its prefill is compiled once for each length of prompts; input_padding=True makes them one"


class Steps(nn.Module):
    """The model as it is called in generation: logits of the last position only, (B, vocabulary)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.cache_name = cache_name(model)
        self.options = {"logits_to_keep": 1} if keeps else {}
        self.of_any_length = True  # until a prefill was compiled that is of one
        self.eval()

    def prefill(self, input_ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        """input_ids and positions (B, S), mask (B, slots) with 0 = padding."""
        return self._logits(input_ids, mask, positions, cache)

    def decode(self, input_ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        """input_ids and positions (B, 1), mask (B, slots): the one of the prefill."""
        return self._logits(input_ids, mask, positions, cache)

    def _logits(self, input_ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        output = self.model(
            input_ids=input_ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            **{self.cache_name: cache},
            **self.options,
        )
        return output.logits[:, -1]


class CompiledSteps:
    """`Steps` for one shape of cache, compiled at their first call.

    any_length: the prefill takes prompts of every length from 2 on (a length of 1 would be another graph).
    """

    def __init__(
        self, steps: Steps, backend: Backend, *, any_length: bool = False, cache_folder: Path | None = None
    ) -> None:
        self.any_length = any_length
        self._steps, self._backend, self._cache_folder = steps, backend, cache_folder
        self._prefills: dict[int | None, Any] = {}  # by prompt length; None: of every length
        self._prefill_of(None)
        self._decode = self._compiled(Steps.decode, cache_folder)

    def prefill(
        self, input_ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: StaticKVCache
    ) -> torch.Tensor:
        """As `Steps.prefill`. Raises CacheFull before anything is written."""
        length = input_ids.shape[1]
        cache.reserve(length)
        if not self.any_length:
            return self._prefill_of(None)(input_ids, mask, positions, cache)
        if self._steps.of_any_length:
            for tensor in (input_ids, positions):
                torch._dynamo.mark_dynamic(tensor, 1)
            try:
                with unsaid("torch._guards", ""):  # what it logs it raises as well
                    return self._prefill_of(None)(input_ids, mask, positions, cache)
            except ConstraintViolationError:  # before anything ran
                self._steps.of_any_length = False
                logger.warning("an op of this model takes the number of tokens as a constant: %s", _EACH)
        # a mark stays on its tensor, which a caller may give again; a copy has none
        return self._prefill_of(length)(input_ids.clone(), mask, positions.clone(), cache)

    def decode(
        self, input_ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: StaticKVCache
    ) -> torch.Tensor:
        """As `Steps.decode`. Raises CacheFull before anything is written."""
        cache.reserve(1)
        return self._decode(input_ids, mask, positions, cache)

    def _prefill_of(self, length: int | None) -> Any:
        if length not in self._prefills:
            folder = self._cache_folder
            if folder is not None and length is not None:  # a graph from the disk is not checked
                folder = folder / f"of-{length}-tokens"
            any_length = self.any_length and length is None
            self._prefills[length] = self._compiled(Steps.prefill, folder, any_length=any_length)
        return self._prefills[length]

    def _compiled(self, function: Callable[..., Any], folder: Path | None, *, any_length: bool = False) -> Any:
        return compile_step(_own_code(self._steps, function), self._backend, dynamic=any_length, cache_folder=folder)


class GraphPool:
    """The compiled steps of a model, one `CompiledSteps` for each shape of cache."""

    def __init__(self, model: nn.Module) -> None:
        self.steps = Steps(model)
        self._compiled: dict[tuple[Any, ...], CompiledSteps] = {}

    def steps_for(
        self, cache: StaticKVCache, *, batch: int, backend: Backend, width: int | None, cache_folder: Path | None
    ) -> CompiledSteps:
        """Steps that fit `cache`, which has its memory afterwards. They are compiled at their first call.

        width: the one length that prompts are padded to; None takes every length.
        """
        if not cache.nbytes:
            allocate(self.steps, cache, batch)
        if cache.max_cache_len is not None:  # a step's positions count tokens of the cache
            tabulate_rotary(self.steps.model, cache.max_cache_len)
        key = (batch, cache.max_cache_len, width, backend)
        if key not in self._compiled:
            folder = None
            if cache_folder is not None:  # a graph from the disk is not checked: the folder's name says what it is of
                dtype = str(next(self.steps.parameters()).dtype).removeprefix("torch.")
                folder = cache_folder / "-".join(map(str, (*key, dtype, _identity(self.steps.model))))
            self._compiled[key] = CompiledSteps(self.steps, backend, any_length=width is None, cache_folder=folder)
        return self._compiled[key]


def _identity(model: Any) -> str:
    """What a step was compiled from besides shapes: all code of the port's folder, the configuration, versions."""
    code = sorted(Path(inspect.getfile(type(model))).parent.glob("*.py"))  # with what is beside the model, and its ops
    parts = (
        *(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in code),
        model.config.to_json_string(use_diff=False),
        porter.__version__,
        transformers.__version__,
        torch.__version__,
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _own_code(steps: Steps, function: Callable[..., Any]) -> types.MethodType:
    """The method with a code object of its own: dynamo keeps graphs by code object, so runners would share a limit."""
    assert isinstance(function, types.FunctionType)
    copied = types.FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
    return types.MethodType(copied, steps)


def allocate(steps: Steps, cache: StaticKVCache, batch: int) -> None:
    """Give the cache its memory by one eager step, so that its shapes are the states' own: of this rank's heads."""
    device = next(steps.parameters()).device
    ids = torch.zeros((batch, 1), dtype=torch.int64, device=device)
    with torch.no_grad():
        steps.prefill(ids, torch.ones_like(ids), ids, cache)
    cache.reset()
    if device.type == "npu":  # graphs may keep the addresses too; elsewhere a new cache would be a new graph
        for layer in cache.layers:
            if layer.is_initialized:
                torch._dynamo.mark_static_address(layer.keys)
                torch._dynamo.mark_static_address(layer.values)

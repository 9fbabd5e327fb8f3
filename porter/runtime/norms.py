"""Sum and norm as one call, inside a decoder layer and from one layer to the next.

Why: `npu_add_rms_norm` takes the addition that ends a layer into the norm that begins the next one. Contract: a layer
takes and returns what the source's does, called by its model or alone, and hooks on it see the same. What was normed
ahead is used for those very states and that norm only: states that a hook or a wrapper has exchanged or changed are
normed again. Where somebody stands between (hooks before a call, an exchanged forward, a layer compiled by itself, a
norm of another class, sums of two dtypes), sum and norm are computed as the source does, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn


class NormAhead:
    """What one layer of a model's call leaves for the next: its states, and their norm. Made anew for each call.

    No tensor and no module, so that what moves a layer's arguments to its device leaves it alone.
    """

    def __init__(self) -> None:
        self.following: Any = None  # the norm that comes after the layer that runs
        self._states: torch.Tensor | None = None
        self._normed: torch.Tensor | None = None
        self._by: Any = None
        self._version: int | None = None

    def over(
        self, layers: Iterable[nn.Module], first_norm: Callable[[Any], nn.Module], final_norm: nn.Module
    ) -> Iterator[nn.Module]:
        """The layers, one after the other; `first_norm(layer)` is what a layer norms its states with."""
        layers = list(layers)
        norms = [_norm_of(layer, first_norm) for layer in layers]
        for index, layer in enumerate(layers):
            following = norms[index + 1] if index + 1 < len(layers) else final_norm
            self.following = None if norms[index] is None or _changes_unseen(layer) else following
            yield layer

    def keep(self, states: torch.Tensor, normed: torch.Tensor, norm: Any) -> None:
        self._states, self._normed, self._by, self._version = states, normed, norm, _version(states)

    def take(self, states: torch.Tensor, norm: Any) -> torch.Tensor | None:
        """The norm of `states`, where it has been computed; once."""
        kept, normed = self._states, self._normed
        same = kept is states and self._by is norm and self._version == _version(states)
        self._states = self._normed = None
        return normed if same else None


def norm_states(norm: Any, hidden_states: torch.Tensor, ahead: NormAhead | None) -> torch.Tensor:
    """norm(hidden_states), (B, S, H): computed ahead, or here."""
    normed = None if ahead is None else ahead.take(hidden_states, norm)
    return norm(hidden_states) if normed is None else normed


def add_states(branch: torch.Tensor, residual: torch.Tensor, ahead: NormAhead | None) -> torch.Tensor:
    """residual + branch, (B, S, H), and with it the norm that follows."""
    norm = None if ahead is None else ahead.following
    if ahead is None or norm is None or not _fuses(norm, branch, residual):
        return residual + branch
    normed, total = norm(branch, residual)
    ahead.keep(total, normed, norm)
    return total


def add_norm(norm: Any, branch: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """norm(residual + branch) and the sum, (B, S, H) each."""
    if _fuses(norm, branch, residual):
        normed, total = norm(branch, residual)
        return normed, total
    total = residual + branch
    return norm(total), total


def _fuses(norm: Any, branch: torch.Tensor, residual: torch.Tensor) -> bool:
    """Whether the norm takes both: nobody looks at what it is called with, and the sum rounds to their one dtype."""
    return branch.dtype == residual.dtype and _is_itself(norm) and not norm._forward_hooks and _takes_residual(norm)


def _takes_residual(norm: nn.Module) -> bool:
    code = getattr(type(norm).forward, "__code__", None)
    return code is not None and "residual" in code.co_varnames[: code.co_argcount]


def _norm_of(layer: Any, first_norm: Callable[[Any], nn.Module]) -> Any:
    """What the layer norms its states with, if its call begins with that; None where somebody stands before it."""
    if not _is_itself(layer):
        return None
    try:
        return first_norm(layer)
    except AttributeError:  # a wrapper around the layer
        return None


def _is_itself(module: nn.Module) -> bool:
    """Its forward is its class's, and nothing comes before it: hooks may move weights there, or states."""
    return not module._forward_pre_hooks and "forward" not in module.__dict__ and module._compiled_call_impl is None


def _changes_unseen(layer: nn.Module) -> bool:
    """A hook behind the layer may change its states in place, where no version of the tensor tells."""
    return bool(layer._forward_hooks) and (torch.compiler.is_compiling() or torch.is_inference_mode_enabled())


def _version(states: torch.Tensor) -> int | None:
    if torch.compiler.is_compiling() or states.is_inference():
        return None
    return states._version

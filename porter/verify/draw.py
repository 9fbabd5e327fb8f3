"""Arguments for the proof of a rule: seeded, in one dtype, and the same values again in fp64.

Contract: two draws of one seed and dtype give the same values in the same order of calls. `in_float64` gives the values
of the draw, rounded to its dtype and then widened: what the truth of a proof is computed from. Integers, bools and
choices do not depend on the dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from torch import nn

T = TypeVar("T")


class StandIn(SimpleNamespace):
    """What a rule's `self` is during a proof: attributes, and a call that goes to `forward` where there is one."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)


class Draw:
    """A stream of values for one run of one side of a rule.

    `dtype` is the dtype that floating values come in: float64 where the draw is for the truth.
    """

    def __init__(self, seed: int, dtype: torch.dtype, *, widened: bool = False) -> None:
        self.seed = seed
        self.dtype = torch.float64 if widened else dtype
        self._rounding = dtype
        self._generator = torch.Generator().manual_seed(seed)

    def in_float64(self) -> Draw:
        """A new draw from the beginning, with the same rounded values as fp64."""
        return Draw(self.seed, self._rounding, widened=True)

    def again(self) -> Draw:
        """A new draw from the beginning: equal values in memory of their own, as one side may write in place."""
        return Draw(self.seed, self.dtype) if self.dtype == self._rounding else self.in_float64()

    def normal(self, *shape: int, scale: float = 1.0) -> torch.Tensor:
        """Tensor of `shape`, normal with mean 0 and deviation `scale`."""
        return self._rounded(torch.randn, shape, lambda values: values * scale)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        """Tensor of `shape`, uniform in [low, high)."""
        return self._rounded(torch.rand, shape, lambda values: values * (high - low) + low)

    def integers(self, low: int, high: int, *shape: int) -> torch.Tensor:
        """int64 tensor of `shape`, from `low` to `high - 1`."""
        return torch.randint(low, high, shape, generator=self._generator)

    def bools(self, *shape: int, share: float = 0.5) -> torch.Tensor:
        """bool tensor of `shape`, True with probability `share`."""
        with torch._C.DisableTorchFunction():
            return torch.rand(shape, generator=self._generator, dtype=torch.float32) < share

    def choice(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[int(self.integers(0, len(options)))]

    def linear(self, inputs: int, outputs: int, bias: bool = False) -> nn.Linear:
        """A linear layer whose outputs are about as large as its inputs."""
        layer = nn.Linear(inputs, outputs, bias=bias, dtype=self.dtype).requires_grad_(False)
        layer.weight.copy_(self.normal(outputs, inputs, scale=inputs**-0.5))
        if bias:
            layer.bias.copy_(self.normal(outputs))
        return layer

    def module(self, **attributes: Any) -> StandIn:
        """A stand-in for `self` or a submodule, with these attributes."""
        return StandIn(**attributes)

    def _rounded(
        self, drawn: Callable[..., torch.Tensor], shape: tuple[int, ...], scaled: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        with torch._C.DisableTorchFunction():  # the same fp32 numbers where the truth asks for wider ones
            values = scaled(drawn(shape, generator=self._generator, dtype=torch.float32))
            return values.to(self._rounding).to(self.dtype)

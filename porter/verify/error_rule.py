"""How wrong a result may be: the error rule of the proofs, and its figures.

The truth is the source's code in fp64 on the same rounded values, so it is nobody's order of summing. Each element of
the rewrite may be as far from the truth as the source's worst element of that tensor is, or by a floor, whichever is
more. Neither the worst element alone (a small element could then be entirely wrong) nor each element against its own
(the source is exact somewhere by chance) would say "as wrong as the source is, never more".

The floor of 16-bit results is one ulp of the dtype at the element's own truth. Of float32 results it is 8 eps of the
tensor's largest magnitude: the source's error is a few roundings there, and which of two orders of summing comes out
nearer is chance, another on each CPU. Roundings in a row walk at random, n of them to the root of n half-ulps: 8 eps is
where 256 of them lead, more than a proof has, and a thousandth of what one fp16 rounding does.

The worst of many 16-bit errors is a sample too: of two results whose errors are alike in all else either may have the
worse one, another on each CPU. So a 16-bit tensor of `MANY` elements or more is judged by the root mean square of its
errors, which may be the source's, as far as so many tell it, or half an ulp at that of the truth. A single element may
then be twice as far off as the source's worst: on one side of a power of two a rounding errs twice as much as on the
other. What is wrong by less than that in 16 bits is seen in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from porter.verify.rounding import ulp

MANY = 64  # from here on a root mean square of errors is known to 18 % (two standard errors, 1 / sqrt(2 n) each)
_STANDARD_ERRORS = 4.9  # exceeded by chance once in a million tensors, were the errors normal
FLOAT32_FLOOR = 8 * torch.finfo(torch.float32).eps  # of the tensor's largest magnitude


class Incomparable(ValueError):
    """The two sides gave results of different kinds."""


@dataclass
class Figures:
    """Worst over all draws: errors against the truth in ulp, how much of the limit was used, elements that differ.

    An ulp here is that of the element's truth, but at least of the tensor's root mean square, so that an element that
    cancels to nothing does not count as a thousand.
    """

    before_ulp: float = 0.0
    after_ulp: float = 0.0
    of_limit: float = 0.0  # above 1: failed
    differing: int = 0
    elements: int = 0

    def add(self, before: torch.Tensor, after: torch.Tensor, truth: torch.Tensor) -> None:
        """Count one result; `truth` in fp64, the sides in the dtype of the draw."""
        dtype, truth = before.dtype, truth.double()
        wide_before, wide_after = before.double(), after.double()
        self.elements += before.numel()
        self.differing += int((wide_before != wide_after).sum())
        if not before.numel():
            return
        # equal first: a masked -inf is not an error, and inf - inf is not a number
        error_before = torch.where(wide_before == truth, 0.0, (wide_before - truth).abs())
        error_after = torch.where(wide_after == truth, 0.0, (wide_after - truth).abs())
        if not bool(error_before.isfinite().all()):
            raise Incomparable(f"`before` is not finite in {dtype} where its truth is: draw smaller values")
        finite = _finite(truth)
        root = finite.square().mean().sqrt()
        floor = FLOAT32_FLOOR * finite.abs().max() if dtype == torch.float32 else ulp(finite, dtype)
        step = ulp(finite.abs().clamp_min(root), dtype)
        limit = torch.maximum(error_before.max(), floor)
        if dtype != torch.float32 and truth.numel() >= MANY:
            limit = torch.maximum(limit, 2 * error_before.max())
            self.of_limit = max(self.of_limit, _number(_of_spread(error_before, error_after, ulp(root, dtype) / 2)))
        used = torch.where(error_after == 0, 0.0, error_after / limit)
        self.before_ulp = max(self.before_ulp, float((error_before / step).max()))
        self.after_ulp = max(self.after_ulp, _number((error_after / step).max()))
        self.of_limit = max(self.of_limit, _number(used.max()))

    @property
    def passed(self) -> bool:
        return self.of_limit <= 1.0

    def as_dict(self) -> dict[str, float]:
        share = self.differing / self.elements if self.elements else 0.0
        values = (self.before_ulp, self.after_ulp, self.of_limit, share)
        names = ("before_ulp", "after_ulp", "of_limit", "differing")
        return {name: float(f"{value:.4g}") for name, value in zip(names, values, strict=True)}


def leaves(result: Any, path: str = "result") -> Iterator[tuple[str, Any]]:
    """The tensors and plain values of a nested result, each with its path."""
    if isinstance(result, dict):
        for key, value in result.items():
            yield from leaves(value, f"{path}[{key!r}]" if path != "result" else str(key))
    elif isinstance(result, (tuple, list)):
        for index, value in enumerate(result):
            yield from leaves(value, f"{path}[{index}]")
    else:
        yield path, result


def compare(before: Any, after: Any, truth: Any, figures: dict[torch.dtype, Figures]) -> list[str]:
    """Add one draw's results to the figures of their dtypes; returns what is wrong with them, in words.

    Raises Incomparable where the sides do not give the same kinds of results in the same places.
    """
    listed = [list(leaves(side)) for side in (before, after, truth)]
    if len({tuple(path for path, _ in side) for side in listed}) != 1:
        names = [", ".join(path for path, _ in side) for side in listed[:2]]
        raise Incomparable(f"`before` gives {names[0]}; `after` gives {names[1]}")
    faults = []
    for (path, one), (_, other), (_, true) in zip(*listed, strict=True):
        if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
            if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor) or one != other:
                raise Incomparable(f"{path}: `before` gives {one!r}, `after` gives {other!r}")
            continue
        if one.shape != other.shape or one.dtype != other.dtype:
            kinds = [f"{t.dtype} {tuple(t.shape)}" for t in (one, other)]
            raise Incomparable(f"{path}: `before` gives {kinds[0]}, `after` gives {kinds[1]}")
        if not one.is_floating_point():
            if not torch.equal(one, other):
                faults.append(f"{path}: {int((one != other).sum())} of {one.numel()} values differ")
            continue
        try:
            single = Figures()
            single.add(one, other, true)
            figures.setdefault(one.dtype, Figures()).add(one, other, true)
        except Incomparable as error:
            raise Incomparable(f"{path}: {error}") from None
        if not single.passed:
            faults.append(
                f"{path} ({str(one.dtype).removeprefix('torch.')}): error {single.after_ulp:.4g} ulp, the source's "
                f"{single.before_ulp:.4g}, {single.of_limit:.4g} times the limit"
            )
    return faults


def _root_mean_square(errors: torch.Tensor) -> torch.Tensor:
    return errors.square().mean().sqrt()


def _of_spread(before: torch.Tensor, after: torch.Tensor, floor: torch.Tensor) -> torch.Tensor:
    """The root mean square of the rewrite's errors, of the one allowed: the source's, as far as n errors tell it."""
    chance = 1 + _STANDARD_ERRORS / math.sqrt(2 * before.numel())
    return _root_mean_square(after) / torch.maximum(chance * _root_mean_square(before), floor)


def _finite(values: torch.Tensor) -> torch.Tensor:
    return torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def _number(value: torch.Tensor) -> float:
    """NaN counts as infinitely wrong: `max` and `<=` would let it pass."""
    return float("inf") if bool(value.isnan()) else float(value)

"""A check of sizes that has passed is not run again for them: a decoder asks the same in every layer, at every step.

Contract: a check wrapped here depends on nothing but the chip, its plain arguments, the length of its lists, and shape,
dtype and contiguity of its tensors. What fails is never remembered, so the error is the same each time. Tensors that
stand for others (fake ones, while a graph is traced) are always checked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from porter.npu.chip import current_chip
from porter.npu.direct import TENSORS

_REMEMBERED = 4096  # signatures a check; prompts of many lengths would grow it without end
_PLAIN = frozenset({int, float, str, bool, type(None)})


def once_a_signature(check: Callable[..., None]) -> Callable[..., None]:
    """`check` of positional arguments, skipped for a signature that has passed."""
    passed: set[tuple[Any, ...]] = set()

    @functools.wraps(check)
    def checked(*arguments: Any) -> None:
        signature: list[Any] = [current_chip()]
        for argument in arguments:
            kind = type(argument)
            if kind in TENSORS:
                signature += (argument.shape, argument.dtype, argument.is_contiguous())
            elif kind in _PLAIN:
                signature.append(argument)
            elif kind is list or kind is tuple:
                signature.append(("of length", len(argument)))
            else:
                return check(*arguments)
        key = tuple(signature)
        if key in passed:
            return None
        check(*arguments)
        if len(passed) >= _REMEMBERED:
            passed.clear()
        passed.add(key)
        return None

    return checked

"""Which Ascend chip the CPU kernels stand in for: it changes a few roundings and several limits.

    with chip("Ascend950"):
        y, rstd, x = torch_npu.npu_add_rms_norm(x1, x2, gamma)

A kernel asks when it runs, so a compiled graph follows the chip it runs under; limits are tested when it is traced
too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from porter.npu.contract import ContractError

A2 = "Ascend910B"
A3 = "Ascend910_93"
ASCEND_950 = "Ascend950"
ASCEND_310P = "Ascend310P"
CHIPS = (A2, A3, ASCEND_950, ASCEND_310P)

_current: ContextVar[str] = ContextVar("porter_npu_chip", default=A2)


def current_chip() -> str:
    """The short name of the chip that is stood in for; A2 (`Ascend910B`) unless `chip` says otherwise."""
    return _current.get()


@contextmanager
def chip(name: str) -> Iterator[None]:
    """Stand in for another chip inside the `with` block. Raises ValueError for a name not in `CHIPS`."""
    if name not in CHIPS:
        raise ValueError(f"chip must be one of {', '.join(CHIPS)}, got {name!r}")
    token = _current.set(name)
    try:
        yield
    finally:
        _current.reset(token)


def check_chip(op: str, supported: tuple[str, ...]) -> None:
    if _current.get() not in supported:
        raise ContractError(op, "the chip", f"must be one of {', '.join(supported)}", _current.get())


def check_chip_dtype(op: str, argument: str, tensor: torch.Tensor) -> None:
    """The Atlas inference products (310P) have no bfloat16."""
    if tensor.dtype is torch.bfloat16 and _current.get() == ASCEND_310P:
        raise ContractError(op, argument, f"must not be torch.bfloat16 on {ASCEND_310P}", tensor.dtype)

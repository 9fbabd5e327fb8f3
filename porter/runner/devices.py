"""The device a runner drives: the one asked for if it is there, else the first that is."""

from __future__ import annotations

import torch

from porter.runner.refusal import CannotRun

_PREFERRED = ("npu", "cuda", "cpu")


def choose_device(wanted: str | torch.device | None) -> torch.device:
    """`wanted`, or an NPU where there is one, else CUDA where there is that, else the CPU.

    Raises CannotRun (P088) for a device that this machine does not have.
    """
    if wanted is None:
        return torch.device(next(kind for kind in _PREFERRED if _count(kind)))
    kind, _, index = str(wanted).partition(":")
    if kind not in _PREFERRED or not (index or "0").isdigit():
        raise CannotRun("P088", f"no device `{wanted}`", f"known are {', '.join(_PREFERRED)}")
    if int(index or 0) >= _count(kind):
        there = ", ".join(other for other in _PREFERRED if _count(other))
        raise CannotRun("P088", f"device `{wanted}` is not there", f"leave the device out: there is {there}")
    return torch.device(wanted)


def has_npu() -> bool:
    return _count("npu") > 0


def _count(kind: str) -> int:
    """How many there are."""
    if kind == "cpu":
        return 1
    module = getattr(torch, kind, None)  # torch.npu is there once torch_npu is imported
    return module.device_count() if module is not None and module.is_available() else 0

"""The device a runner drives: the one asked for if it is there, else the first that is."""

from __future__ import annotations

import torch

from porter.runner.refusal import CannotRun

_PREFERRED = ("npu", "cuda", "cpu")


def choose_device(wanted: str | None) -> torch.device:
    """`wanted`, or an NPU where there is one, else CUDA where there is that, else the CPU.

    Raises CannotRun (P088) for a device that this machine does not have.
    """
    if wanted is None:
        return torch.device(next(kind for kind in _PREFERRED if _is_there(kind)))
    kind = wanted.partition(":")[0]
    if kind in _PREFERRED and not _is_there(kind):
        there = ", ".join(other for other in _PREFERRED if _is_there(other))
        raise CannotRun("P088", f"device `{wanted}` is not there", f"leave the device out, or choose of {there}")
    try:
        return torch.device(wanted)
    except RuntimeError:
        raise CannotRun("P088", f"no device `{wanted}`", f"known are {', '.join(_PREFERRED)}") from None


def _is_there(kind: str) -> bool:
    if kind == "cpu":
        return True
    module = getattr(torch, kind, None)  # torch.npu is there once torch_npu is imported
    return module is not None and bool(module.is_available())

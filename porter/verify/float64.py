"""The truth of a comparison: code that was written for float32, computed in float64.

Contract: within the block every float32 that torch is asked for is a float64, whether it is asked for by `float()`, as
an argument or as the default dtype, so that norms and softmaxes that widen to float32 widen to float64. Inputs and
parameters are the caller's to widen (`model.double()`). Ops of `torch.ops.npu` refuse float64: the truth is a source's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class InFloat64(TorchFunctionMode):
    def __enter__(self) -> InFloat64:
        self._default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        torch.set_default_dtype(self._default)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.float:
            return args[0].double()
        wide = {name: _widened(value) for name, value in (kwargs or {}).items()}
        return func(*map(_widened, args), **wide)


def _widened(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value

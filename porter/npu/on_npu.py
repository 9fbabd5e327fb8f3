"""PyTorch's own ops that an NPU computes otherwise than they are asked to, in terms of what does compute it.

Contract: decompositions for TorchAir and npugraph_ex. `gelu` becomes the form by tanh, whatever `approximate` says:
that is TorchAir's converter in 2.13, and the eager kernel does the same by torch_npu's page of `npu_gelu`. Other
arguments that its converters of PyTorch's ops leave unread hold no numbers of a model that does not train.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def gelu(input: torch.Tensor, *, approximate: str = "none") -> Any:
    """By tanh it stays what it is."""
    return NotImplemented if approximate == "tanh" else torch.ops.npu.npu_gelu(input, approximate=approximate)


def graph_decompositions() -> dict[Any, Callable[..., Any]]:
    """PyTorch's op -> what says the same to a compiler for the NPU; where that is the op itself, NotImplemented."""
    return {torch.ops.aten.gelu.default: gelu}

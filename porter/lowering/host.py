"""Imports torch_npu and TorchAir in the worker's process, and answers what TorchAir asks a device before it converts.

Contract: runs in the worker's process only, before `porter.npu` is imported: the wheel defines the schemas, porter adds
CPU kernels. TorchAir asks three things: to start the graph engine (nothing is run, so nothing is started), whether this
CANN knows an op (with stand-ins: the newest, which knows them all), and which chip this is (the caller says).
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_kept: list[Any] = []  # kernels live as long as their library


def load(host: dict[str, Any], soc: str) -> None:
    """Import torch_npu from `host["folders"]` on `host["libraries"]` (none of them: with CANN itself)."""
    sys.path.extend(host["folders"])
    for library in host["libraries"]:
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    import torch_npu
    import torch_npu.dynamo.torchair  # registers the top-level name `torchair`
    from torchair._ge_concrete_graph import compat_ir, fx2ge_converter

    fx2ge_converter.initialize_graph_engine = lambda *args, **kwargs: None
    if host["libraries"]:
        compat_ir.is_cann_compat = lambda *args, **kwargs: ""  # its way to say yes
    torch_npu.npu.get_device_name = lambda *args, **kwargs: soc
    import porter.npu  # noqa: F401  puts CPU kernels under the wheel's schemas

    _kept.append(_with_kernel_of_lengths())


def _with_kernel_of_lengths() -> Any:
    """The library that holds a CPU kernel for TorchAir's attention with a tensor of lengths: its own one raises."""
    import torch

    from porter.runner.lengths import attention_with_lengths

    op = attention_with_lengths()
    library = torch.library.Library(op.namespace, "IMPL")
    library.impl(op.name().partition("::")[2], _attention_of_lengths, "CPU")
    return library


def _attention_of_lengths(*args: Any, actual_seq_lengths_kv: Any = None, **options: Any) -> Any:
    """npu_fused_infer_attention_score of a tensor of lengths, which a graph that runs on the CPU may look at."""
    from porter.npu.attention import npu_fused_infer_attention_score

    lengths = None if actual_seq_lengths_kv is None else actual_seq_lengths_kv.tolist()
    return npu_fused_infer_attention_score(*args, actual_seq_lengths_kv=lengths, **options)

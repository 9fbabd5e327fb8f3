"""Imports torch_npu and TorchAir in the worker's process, and answers what TorchAir asks a device before it converts.

Contract: runs in the worker's process only, before `porter.npu` is imported: the wheel defines the schemas, porter adds
CPU kernels. TorchAir asks three things: to start the graph engine (nothing is run, so nothing is started), whether this
CANN knows an op (with stand-ins: the newest, which knows them all), and which chip this is (the caller says).
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any


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

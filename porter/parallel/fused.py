"""Row-parallel layers whose prefill is one op, matrix product and all-reduce: npu_mm_all_reduce_base.

Contract: DeepSpeed has made the row-parallel layers already; here they change class, not weights. Steps of one token
stay DeepSpeed's, because the op is documented for prefill only. The op would add a bias on every rank: it is added
after the sum, once. Importing this module imports DeepSpeed.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from deepspeed.module_inject.layers import LinearAllreduce
from torch import distributed, nn

try:
    import torch_npu
except ImportError:  # no NPU stack here: the same op, computed on the CPU
    from porter.npu import torch_npu


class FusedLinearAllreduce(LinearAllreduce):
    """DeepSpeed's row-parallel linear; x is (B, S, in/ranks), the result (B, S, out) is whole on every rank."""

    hcom: str

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-2] == 1:
            return super().forward(x)
        summed = torch_npu.npu_mm_all_reduce_base(x, self.weight.t(), self.hcom)
        return summed if self.bias is None else summed + self.bias


def fuse_all_reduce(layers: Iterable[nn.Module]) -> int:
    """Give every row-parallel linear of decoder `layers` the fused prefill; returns how many there are."""
    linears = [module for layer in layers for module in layer.modules() if type(module) is LinearAllreduce]
    for linear in linears:
        linear.hcom = communicator_name(linear.mp_group)  # now: a step that is traced must not ask
        linear.__class__ = FusedLinearAllreduce
    return len(linears)


def communicator_name(group: distributed.ProcessGroup) -> str:
    """What the op calls the group: HCCL's name of the communicator; off the device the group's own name."""
    if distributed.get_backend(group) == "hccl":
        backend = group._get_backend(torch.device("npu"))
        return backend.get_hccl_comm_name(distributed.get_rank())  # takes the rank in the world
    return group.group_name

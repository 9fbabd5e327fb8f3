"""What each torch_npu op computes and what it demands, on a machine without an NPU.

Importing this package puts the ops a port uses under `torch.ops.npu`, with the schemas of the torch_npu 2.13.0 wheel;
where the wheel is loaded already, it adds CPU kernels to the wheel's own schemas. A CPU kernel has the device's
semantics (mask polarity, in-place writes, where values are rounded), and what the device forbids is a ContractError
that names the op, the argument, the limit and what was passed. Float32 attention alone is allowed against the
contract, for proofs. Float64 is not.

    from porter.npu import torch_npu          # what generated code imports off the device
    from porter.npu import ContractError, chip

Inference only: a backward pass through these ops is an error. That the device computes the same is not shown here.

Takes:    the arguments of an op.
Gives:    its result as the device computes it, or a ContractError.
Imported: by `runtime`, generated code and all that runs a port. Of porter it needs nothing.
"""

from porter.npu import (
    activation,
    attention,
    grouped_matmul,
    moe_combine,
    moe_gating,
    moe_routing,
    norm,
    reduce,
    registry,
    rotary,
    rotary_interleaved,
    scatter,
)
from porter.npu.chip import CHIPS, chip, current_chip
from porter.npu.contract import ContractError
from porter.npu.registry import implemented

registry.register((*norm.OPS, *rotary.OPS, *attention.OPS, *activation.OPS, *scatter.OPS, *reduce.OPS))
registry.register((*rotary_interleaved.OPS, *moe_gating.OPS, *moe_routing.OPS, *grouped_matmul.OPS, *moe_combine.OPS))

from porter.npu import torch_npu  # noqa: E402  it binds the ops that were registered just now

__all__ = ["CHIPS", "ContractError", "chip", "current_chip", "implemented", "torch_npu"]

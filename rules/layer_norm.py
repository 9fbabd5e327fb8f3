"""nn.LayerNorm -> as it is: one op, one kernel

Why:      there is nothing to write: `native_layer_norm` lowers to one kernel.
Numerics: the source's own.
Contract: the addition before it stays: of `npu_add_layer_norm` TorchAir has no converter.
"""

from porter.rule import Edit, Rule

rule = Rule(
    edits=(Edit(site="torch.nn.LayerNorm", answers=("norm",)),),
    closes={"TorchAir has no converter for npu_add_layer_norm": ("sum", "last_sum")},
)

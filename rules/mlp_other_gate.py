"""Gate and up projections with relu or its square -> as they are: no op gates with either

Why:      of the gated activations torch_npu has kernels for silu, gelu and a clipped silu. One product for the two
          projections would need a split behind it: as many kernels as two products.
Numerics: the source's own.
Contract: none.
"""

from transformers.activations import ACT2FN

from porter.rule import Edit, Rule

rule = Rule(
    edits=(
        Edit("forward", site="mlp.forward", unit="expression", answers=("gate",)),
        Edit("init", site="mlp.__init__", unit="statements"),
    ),
    attributes=("gate_proj", "up_proj", "act_fn"),
    guards={"activation": ("relu", "relu2")},
)


def before_forward(self, x):
    """no op gates with relu or its square"""
    self.act_fn(self.gate_proj(x)) * self.up_proj(x)


def before_init(self, activation):
    """no op gates with relu or its square"""
    self.act_fn = ACT2FN[activation]


def not_forward_without_a_gate(self, x):
    """Nothing to gate: another verdict."""
    return self.down_proj(self.act_fn(self.up_proj(x)))

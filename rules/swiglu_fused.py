"""Gate and up in one projection of the source, with silu -> npu_swiglu of it

Why:      one kernel for the two halves, silu and the product.
Numerics: fp32 inside and one rounding, where the source rounds silu(gate) first: closer to fp32.
Contract: torch_npu.npu_swiglu activates the first half, as the source does. Only silu is that kernel, so a
          configuration with another activation is refused when the model is built.
"""

from porter.npu import torch_npu
from porter.rule import Edit, Rule
from rules.shared.activation import after_init, before_init

rule = Rule(
    edits=(
        Edit("forward", site="mlp.forward", unit="function", answers=("gate",)),
        Edit("init", site="mlp.__init__", unit="statements"),
    ),
    attributes=("gate_up", "down", "act_fn"),
    supersedes=("gelu",),
    guards={"activation": ("silu", "swish")},
)


def before_forward(self, x):
    gate, up = self.gate_up(x).chunk(2, dim=-1)
    return self.down(self.act_fn(gate) * up)


def before_forward__by_index(self, x):
    both = self.gate_up(x).chunk(2, dim=-1)
    return self.down(self.act_fn(both[0]) * both[1])


def after_forward(self, x):
    return self.down(torch_npu.npu_swiglu(self.gate_up(x)))


def not_forward_with_gate_last(self, x):
    """The kernel activates the first half."""
    up, gate = self.gate_up(x).chunk(2, dim=-1)
    return self.down(self.act_fn(gate) * up)


def not_forward_of_neighbours(self, x):
    """Gate and up in turns, column by column: no halves."""
    both = self.gate_up(x)
    return self.down(self.act_fn(both[..., ::2]) * both[..., 1::2])


def not_forward_clamped(self, x):
    """A clamp between is another op."""
    gate, up = self.gate_up(x).chunk(2, dim=-1)
    return self.down(self.act_fn(gate.clamp(max=7.0)) * up)


def not_forward_of_three_parts(self, x):
    """The first two of three."""
    both = self.gate_up(x).chunk(3, dim=-1)
    return self.down(self.act_fn(both[0]) * both[1])


def _mlp(draw, init):
    self = draw.module()
    init(self, "silu")
    self.gate_up, self.down = lambda x: x, lambda x: x
    return self


def proof_before(draw):
    self, x = _mlp(draw, before_init), draw.normal(2, 7, 64)
    return before_forward(self, x), before_forward__by_index(self, x)


def proof_after(draw):
    self, x = _mlp(draw, after_init), draw.normal(2, 7, 64)
    return after_forward(self, x), after_forward(self, x)

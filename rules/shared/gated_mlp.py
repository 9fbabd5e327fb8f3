"""Gated MLPs that look like `act(gate) * up`, and are not: no rule that merges gate and up may take them."""


def not_forward_with_gate_last(self, x):
    """The activation must be on the gate."""
    self.act_fn(self.up_proj(x)) * self.gate_proj(x)

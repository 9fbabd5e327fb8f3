"""Logits of every position -> logits of the positions asked for

Why:      generation reads the last position only; the others cost a product with the whole vocabulary each.
Numerics: the same rows of the same product.
Contract: `logits_to_keep=0`, the default, keeps all, as the source does; `generate()` passes 1 where a forward takes
          it. Only where the head takes the model's first output as it is, (batch, positions, hidden_size). Sources
          that have the parameter need no rule.
"""

from porter.rule import Rule

rule = Rule(site="causal.forward", unit="statements", absent=("logits_to_keep", "num_logits_to_keep"))


def before(self, outputs):
    logits = self.lm_head(outputs[0])


def after(self, outputs, logits_to_keep: int = 0):
    logits = self.lm_head(outputs[0][:, -logits_to_keep:])


def before__named(self, outputs):
    states = outputs.last_hidden_state
    logits = self.lm_head(states)


def after__named(self, outputs, logits_to_keep: int = 0):
    states = outputs.last_hidden_state[:, -logits_to_keep:]
    logits = self.lm_head(states)


def before__indexed(self, outputs):
    states = outputs[0]
    logits = self.lm_head(states)


def after__indexed(self, outputs, logits_to_keep: int = 0):
    states = outputs[0][:, -logits_to_keep:]
    logits = self.lm_head(states)


def not_streams(self, outputs):
    """A second output may have dimensions of its own: what is sliced must be positions."""
    logits = self.lm_head(outputs[1])


def not_reshaped(self, outputs):
    """What was done to the states in between may have moved the positions."""
    states = outputs[0].view(2, 4, 7, 64)
    logits = self.lm_head(states)


def proof(draw):
    states = draw.normal(2, 7, 64)
    outputs = _Outputs([states])
    outputs.last_hidden_state = states
    return dict(self=draw.module(lm_head=draw.linear(64, 96)), outputs=outputs)


class _Outputs(list):
    """A model's outputs: by index and by name."""

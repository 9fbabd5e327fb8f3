"""Logits of every position -> logits of the positions asked for

Why:      generation reads the last position only; the others cost a product with the whole vocabulary each.
Numerics: the same rows of the same product.
Contract: `logits_to_keep=0`, the default, keeps all, as the source does; `generate()` passes 1 where a forward takes
          it. Only where the head is one linear, position by position, and takes the model's first output as it is,
          (batch, positions, hidden_size). Sources that have the parameter need no rule.
"""

from torch import nn

from porter.rule import Edit, Rule

rule = Rule(
    edits=(
        Edit("forward", site="causal.forward", unit="statements"),
        Edit("init", site="causal.__init__", unit="statements"),
    ),
    absent=("logits_to_keep", "num_logits_to_keep"),
)


def before_forward(self, outputs):
    logits = self.lm_head(outputs[0])


def after_forward(self, outputs, logits_to_keep: int = 0):
    logits = self.lm_head(outputs[0][:, -logits_to_keep:])


def before_forward__named(self, outputs):
    states = outputs.last_hidden_state
    logits = self.lm_head(states)


def after_forward__named(self, outputs, logits_to_keep: int = 0):
    states = outputs.last_hidden_state[:, -logits_to_keep:]
    logits = self.lm_head(states)


def before_forward__indexed(self, outputs):
    states = outputs[0]
    logits = self.lm_head(states)


def after_forward__indexed(self, outputs, logits_to_keep: int = 0):
    states = outputs[0][:, -logits_to_keep:]
    logits = self.lm_head(states)


def before_init(self, width, vocabulary, bias):
    self.lm_head = nn.Linear(width, vocabulary, bias=bias)


def after_init(self, width, vocabulary, bias):
    self.lm_head = nn.Linear(width, vocabulary, bias=bias)


def before_init__biased(self, width, vocabulary):
    self.lm_head = nn.Linear(width, vocabulary)


def after_init__biased(self, width, vocabulary):
    self.lm_head = nn.Linear(width, vocabulary)


def not_forward_streams(self, outputs):
    """A second output may have dimensions of its own: what is sliced must be positions."""
    logits = self.lm_head(outputs[1])


def not_forward_reshaped(self, outputs):
    """What was done to the states in between may have moved the positions."""
    states = outputs[0].view(2, 4, 7, 64)
    logits = self.lm_head(states)


def not_init_with_a_head_over_positions(self, width, vocabulary):
    """A convolution mixes positions: those that are left out would be missed."""
    self.lm_head = nn.Conv1d(width, vocabulary, 3)


def _logits(draw, init, variants):
    self, states = draw.module(), draw.normal(2, 7, 64)
    init(self, 64, 96, False)
    self.lm_head.weight = draw.linear(64, 96).weight
    outputs = _Outputs([states])
    outputs.last_hidden_state = states
    return [forward(self, outputs)["logits"] for forward in variants]


def proof_before(draw):
    return _logits(draw, before_init, (before_forward, before_forward__named, before_forward__indexed))


def proof_after(draw):
    return _logits(draw, after_init, (after_forward, after_forward__named, after_forward__indexed))


class _Outputs(list):
    """A model's outputs: by index and by name."""

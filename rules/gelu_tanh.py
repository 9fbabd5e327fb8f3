"""The library's `gelu_new`, written out in eight small kernels -> its `gelu_pytorch_tanh`, one op

Why:      the same formula, by one kernel.
Numerics: the source rounds each of its eight steps, the op computes in fp32 and rounds once: closer to fp32.
Contract: plain torch: `gelu` with the tanh approximation. Any other activation of a configuration stays what it is.
"""

from transformers.activations import ACT2FN

from porter.rule import Edit, Rule

rule = Rule(edits=(Edit(site="mlp.__init__", unit="expression"),), guards={"activation": ("gelu_new",)})


def before(self, activation):
    ACT2FN[activation]


def after(self, activation):
    ACT2FN["gelu_pytorch_tanh" if activation == "gelu_new" else activation]


def not_called(self, activation, x):
    """A table of another name."""
    ACT2CLS[activation]


def proof_before(draw):
    return before(draw.module(), draw.choice(("gelu_new", "relu")))(draw.normal(2, 7, 64))


def proof_after(draw):
    return after(draw.module(), draw.choice(("gelu_new", "relu")))(draw.normal(2, 7, 64))

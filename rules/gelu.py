"""An activation by its name, or GELU itself -> the module that computes it on an NPU

Why:      PyTorch's gelu is there the form by tanh, whatever it is asked for: the error function is npu_gelu's. And the
          library's `gelu_new`, written out in eight small kernels, is one op.
Numerics: gelu by the error function in fp32, rounded once. `gelu_new` is `gelu_pytorch_tanh`, the same formula: the
          source rounds each of its steps, the op once, closer to fp32. Every other activation is the source's.
Contract: torch_npu.npu_gelu with approximate "none". A configuration's other activations stay the library's.
"""

from torch import nn
from transformers.activations import ACT2FN, get_activation

from porter.rule import Edit, Rule
from porter.runtime import Gelu, activation_of

rule = Rule(edits=(Edit(site="*.__init__", unit="expression"),))


def before(self, activation):
    ACT2FN[activation]


def before__got(self, activation):
    get_activation(activation)


def before__itself(self):
    nn.GELU()


def before__itself_named(self):
    nn.GELU(approximate="none")


def after(self, activation):
    activation_of(activation)


def after__itself(self):
    Gelu()


def after__itself_named(self):
    Gelu()


def not_called(self, activation, x):
    """A table of another name."""
    ACT2CLS[activation]


def not_by_tanh(self):
    """The form that PyTorch's own op has on an NPU."""
    nn.GELU(approximate="tanh")


def proof_before(draw):
    return before(draw.module(), draw.choice(("gelu", "gelu_new", "relu")))(draw.normal(2, 7, 64))


def proof_after(draw):
    return after(draw.module(), draw.choice(("gelu", "gelu_new", "relu")))(draw.normal(2, 7, 64))

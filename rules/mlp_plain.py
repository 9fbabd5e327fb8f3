"""Two projections with an activation between, and no gate -> as they are: nothing to fuse

Why:      two products and one activation are what there is to compute.
Numerics: the source's own.
Contract: of the ops only `npu_ffn` takes both products, and that is documented for fp16 in one mode alone. A dropout
          behind is the identity in a model that does not train.
"""

from torch import nn
from transformers.activations import ACT2FN, get_activation

from porter.rule import Argument, Edit, Rule

rule = Rule(
    edits=(
        Edit("forward", site="mlp.forward", unit="function", answers=("gate",)),
        Edit("init", site="mlp.__init__", unit="statements"),
    ),
    attributes=("up", "down", "act", "share"),
)


def before_forward(self, x: Argument):
    """two products with an activation between and no gate: npu_ffn, the one op for both, is documented for one mode of
    fp16 alone"""
    return self.down(self.act(self.up(x)))


def before_forward__dropout(self, x: Argument):
    """two products with an activation between and no gate: npu_ffn, the one op for both, is documented for one mode of
    fp16 alone"""
    return self.dropout(self.down(self.act(self.up(x))))


def before_forward__dropout_called(self, x: Argument):
    """two products with an activation between and no gate: npu_ffn, the one op for both, is documented for one mode of
    fp16 alone"""
    return nn.functional.dropout(self.down(self.act(self.up(x))), p=self.share, training=self.training)


def before_forward__residual(self, x: Argument, residual):
    """two products with an activation between and no gate: npu_ffn, the one op for both, is documented for one mode of
    fp16 alone"""
    return nn.functional.dropout(self.down(self.act(self.up(x))), p=self.share, training=self.training) + residual


def before_init(self, activation):
    """one of the library's activations"""
    self.act = ACT2FN[activation]


def before_init__got(self, activation):
    """one of the library's activations"""
    self.act = get_activation(activation)


def before_init__gelu(self):
    """one of PyTorch's activations"""
    self.act = nn.GELU(...)


def before_init__silu(self):
    """one of PyTorch's activations"""
    self.act = nn.SiLU()


def not_forward_with_a_gate(self, x):
    """A gate and its product are fused: another rule's."""
    return self.down(self.act(self.gate(x)) * self.up(x))


def not_forward_with_a_norm(self, x):
    """A norm between is a site of its own."""
    return self.down(self.norm(self.act(self.up(x))))


def not_forward_of_one_product(self, x):
    """An activation of the input."""
    return self.down(self.act(x))


def not_init_of_an_own_activation(self):
    """What a class of the file computes may be more than an activation."""
    self.act = self.GatedUnit()


def not_init_of_a_member_of_it(self, activation):
    """Not an activation, but what it returns for something."""
    self.act = ACT2FN[activation](self.scale)

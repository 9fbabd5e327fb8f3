"""Two projections with an activation of the file between, and no gate -> as they are: nothing to fuse

Why:      as `mlp_plain`. Over slices of its weight, the second product is a loop that one configuration asks for.
Numerics: the source's own.
Contract: as `mlp_plain`. The activation is a class of the file, a site of its own.
"""

import torch
from torch.nn import functional as F
from transformers.models.bloom.modeling_bloom import dropout_add

from porter.rule import Argument, Edit, Rule

rule = Rule(
    edits=(Edit(site="mlp.forward", unit="function", answers=("gate",)),),
    attributes=("up", "down", "act", "share"),
)


def before(self, x: Argument, residual):
    """two products with an activation between and no gate: npu_ffn, the one op for both, is documented for one mode of
    fp16 alone"""
    x = self.act(self.up(x))
    if self.pretraining_tp > 1 and self.slow_but_exact:
        product = torch.zeros_like(residual)
        slices = self.down.weight.shape[-1] / self.pretraining_tp
        for i in range(self.pretraining_tp):
            product = product + F.linear(
                x[:, :, int(i * slices) : int((i + 1) * slices)],
                self.down.weight[:, int(i * slices) : int((i + 1) * slices)],
            )
    else:
        product = self.down(x)
    output = dropout_add(product, residual, self.share, self.training)
    return output


def given_dropout_add(x, residual, prob, training):
    return residual + F.dropout(x, p=prob, training=training)


def not_with_a_gate(self, x, residual):
    """A gate and its product are fused: another rule's."""
    x = self.act(self.gate(x)) * self.up(x)
    return dropout_add(self.down(x), residual, self.share, self.training)

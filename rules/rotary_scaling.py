"""Cos and sin times a scaling that is 1 for most rope types -> multiplied only where it is not

Why:      two products and two casts less in every step.
Numerics: exact: a product with 1.0 changes nothing.
Contract: none: plain torch. The scaling is a Python float of the model, so a graph holds one of the two branches.
"""

from porter.rule import Edit, Rule

rule = Rule(edits=(Edit(site="rotary.forward", unit="statements"),))


def before(self, emb):
    cos = emb.cos() * self.attention_scaling
    sin = emb.sin() * self.attention_scaling


def after(self, emb):
    cos, sin = emb.cos(), emb.sin()
    if self.attention_scaling != 1.0:  # yarn and its kin
        cos, sin = cos * self.attention_scaling, sin * self.attention_scaling


def not_scaled_by_a_tensor(self, emb, scaling):
    """A scaling that belongs to the step, not to the model, would be read back from the device."""
    cos = emb.cos() * scaling
    sin = emb.sin() * scaling


def proof(draw):
    return dict(self=draw.module(attention_scaling=draw.choice((1.0, 1.2))), emb=draw.uniform(2, 7, 64))

"""Projections of attention whose last layers read keys and values of an earlier one -> as they are

Why:      rows are merged in all layers of a class or in none, and a layer that reads another's keys and values projects
          queries alone; one that takes its keys as values has no third projection either.
Numerics: the source's own.
Contract: none.
"""

from porter.rule import Edit, Rule

rule = Rule(edits=(Edit(site="attention.forward", unit="statements", answers=("qkv",)),))


def before(self, x, shape, shared):
    """layers that read another's keys and values project queries alone: not every layer has three to merge"""
    query = self.q_proj(x).view(shape)
    ...
    if self.is_kv_shared_layer:
        key, value = shared[self.layer_type]
    else:
        key = self.k_proj(x).view(shape)
        value = self.v_proj(x).view(shape) if self.v_proj is not None else key
        ...


def not_of_every_layer(self, x, shape):
    """Where every layer has all three, they merge."""
    query = self.q_proj(x).view(shape)
    key = self.k_proj(x).view(shape)
    value = self.v_proj(x).view(shape)


def not_of_states_that_were_projected(self, x, shape, shared):
    """Keys of another input are no part of one projection anyway."""
    query = self.q_proj(x).view(shape)
    if self.is_kv_shared_layer:
        key, value = shared[self.layer_type]
    else:
        key = self.k_proj(shared).view(shape)
        value = self.v_proj(x).view(shape) if self.v_proj is not None else key

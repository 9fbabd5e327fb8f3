"""A module that hands its input to an autograd function of the file -> as it is: what there is to compute is that one's

Why:      of an autograd function a model that does not train computes the forward, in the graph too.
Numerics: the source's own.
Contract: none. What the function computes is a site of its own where a rule knows it: see `gelu_written_out`.
"""

from porter.rule import Edit, Rule

rule = Rule(edits=(Edit(site="activation.forward", unit="function", parameters=("x",)),), answers=("activation",))


def before(self, x):
    """what there is to compute is the function's"""
    return GeLUFunction.apply(x)  # noqa: F821


def not_computed_here(self, x):
    """What is computed in the module itself may be an op's."""
    return x * (x * 1.702).sigmoid()

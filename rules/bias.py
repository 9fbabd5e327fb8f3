"""A module that adds its parameter to what it is given -> as it is: one addition

Why:      a bias in a module of its own, so that other code finds it there.
Numerics: the source's own.
Contract: none. A rule that takes the bias out of such a module asks for this one.
"""

from porter.rule import Argument, Edit, Rule

rule = Rule(edits=(Edit(site="bias.forward", unit="function", answers=("bias",)),))


def before(self, x: Argument):
    """one addition"""
    return x + self.e_score_correction_bias.squeeze()


def not_scaled(self, x):
    """The parameter is not what is added."""
    return x + 2 * self.e_score_correction_bias.squeeze()


def not_a_product(self, x):
    """Scores times a parameter are no scores with a bias."""
    return x * self.e_score_correction_bias.squeeze()

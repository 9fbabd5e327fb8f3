"""The last addition of a layer and the first norm of the next one -> one call of that norm with the residual

Why:      the addition at the end of each layer disappears into the norm that follows it, in the next layer or after
          the last one.
Numerics: those of `norm_rms_residual`, which must take the class of the layer's first norm and of the final norm.
Contract: a layer is called as the source's and returns what that returns; called by its model it leaves the norm of
          its states beside them, in a `porter.runtime.NormAhead`, and takes what the layer before it left.
"""

from torch import nn

from porter.rule import Argument, Edit, Rule, Varying, maybe
from porter.runtime import NormAhead, add_states, norm_states

rule = Rule(
    edits=(
        Edit("layer", site="layer.forward", unit="statements", answers=("last_sum",)),
        Edit("model", site="model.forward", unit="statements"),
    ),
    attributes=("norm", "final_norm"),
    requires={"norm": "norm_with_residual", "final_norm": "norm_with_residual"},
)


def before_layer(self, hidden_states: Argument, branch: Varying, skip: Varying):
    residual = hidden_states
    normed = self.norm(hidden_states)
    ...
    output = skip + branch
    return output


def after_layer(self, hidden_states, branch, skip, ahead: NormAhead | None = None):
    residual = hidden_states
    normed = norm_states(self.norm, hidden_states, ahead)
    ...
    output = add_states(branch, skip, ahead)
    return output


def before_model(self, hidden_states, layers):
    for decoder_layer in layers:
        hidden_states = decoder_layer(hidden_states, **...)
    ...
    hidden_states = self.final_norm(hidden_states)


def after_model(self, hidden_states, layers):
    ahead = NormAhead()
    for decoder_layer in ahead.over(
        layers,
        lambda layer: layer.norm,
        self.final_norm,
    ):
        hidden_states = decoder_layer(
            hidden_states,
            ahead=ahead,
            **...,
        )
    ...
    hidden_states = norm_states(self.final_norm, hidden_states, ahead)


def before_model__enumerated(self, hidden_states, layers):
    for index, decoder_layer in enumerate(layers):
        with maybe:
            ...
        hidden_states = decoder_layer(hidden_states, **...)
    ...
    hidden_states = self.final_norm(hidden_states)


def after_model__enumerated(self, hidden_states, layers):
    ahead = NormAhead()
    layers_ahead = ahead.over(
        layers,
        lambda layer: layer.norm,
        self.final_norm,
    )
    for index, decoder_layer in enumerate(layers_ahead):
        with maybe:
            ...
        hidden_states = decoder_layer(
            hidden_states,
            ahead=ahead,
            **...,
        )
    ...
    hidden_states = norm_states(self.final_norm, hidden_states, ahead)


def not_layer_that_norms_the_branch(self, hidden_states):
    """The last addition takes a normed branch: nothing of the layer follows it, but the sum is another one."""
    residual = hidden_states
    hidden_states = self.norm(hidden_states)
    return residual + self.norm(hidden_states) * 2


class _Norm(nn.Module):
    def __init__(self, draw):
        super().__init__()
        self.weight = draw.normal(64)

    def forward(self, x, residual=None):
        total = x if residual is None else residual + x
        return total * self.weight if residual is None else (total * self.weight, total)


class _Layer(nn.Module):
    """Runs one side of the rule on a drawn branch, and notes what it is called with and what it returns."""

    def __init__(self, draw, side, seen):
        super().__init__()
        self.norm, self.branch, self.side, self.seen = _Norm(draw), draw.normal(2, 7, 64), side, seen

    def forward(self, hidden_states, **ahead):
        output = self.side(self, hidden_states, self.branch, hidden_states, **ahead)
        self.seen += [hidden_states, output]
        return output


def _run(draw, layer, *models):
    results, seen = [], []
    layers = [_Layer(draw, layer, seen) for _ in range(3)]
    self = draw.module(final_norm=_Norm(draw))
    for model in models:
        results.append(model(self, draw.normal(2, 7, 64), layers)["hidden_states"])
    alone = layers[1](draw.normal(2, 7, 64))
    return results, alone, seen


def proof_before(draw):
    return _run(draw, before_layer, before_model, before_model__enumerated)


def proof_after(draw):
    return _run(draw, after_layer, after_model, after_model__enumerated)

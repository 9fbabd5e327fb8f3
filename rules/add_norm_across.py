"""The last addition of a layer and the first norm of the next one -> one call of that norm with the residual

Why:      the addition at the end of each layer disappears into the norm that follows it, in the next layer or after
          the last one.
Numerics: those of `norm_rms_residual`, which must take the class of the layer's first norm and of the final norm.
Contract: a layer gets the states and their norm, and returns both: the states stay the first output, so that whoever
          records hidden states at a layer sees what the source returns there.
"""

import torch
from torch import nn

from porter.rule import Edit, Rule

rule = Rule(
    edits=(
        Edit(
            "layer",
            site="layer.forward",
            unit="statements",
            parameters=("hidden_states",),
            varying=("branch", "skip"),
        ),
        Edit("model", site="model.forward", unit="statements"),
    ),
    scope="module",
    attributes=("norm", "final_norm"),
    requires={"norm": "norm_rms_residual", "final_norm": "norm_rms_residual"},
)


def before_layer(self, hidden_states, branch, skip):
    residual = hidden_states
    normed = self.norm(hidden_states)
    ...
    output = skip + branch
    return output


def after_layer(
    self, hidden_states, branch, skip, normed_states: torch.Tensor, next_norm: nn.Module
) -> tuple[torch.Tensor, torch.Tensor]:
    residual = hidden_states
    normed = normed_states
    ...
    normed_states, output = next_norm(branch, skip)
    return output, normed_states


def before_model(self, hidden_states, layers):
    for decoder_layer in layers:
        hidden_states = decoder_layer(hidden_states, **...)
    ...
    hidden_states = self.final_norm(hidden_states)


def after_model(self, hidden_states, layers):
    decoder_layers = list(layers)
    norms = [*(layer.norm for layer in decoder_layers), self.final_norm]
    normed_states = norms[0](hidden_states)
    for decoder_layer, next_norm in zip(decoder_layers, norms[1:]):
        hidden_states, normed_states = decoder_layer(
            hidden_states,
            normed_states=normed_states,
            next_norm=next_norm,
            **...,
        )
    ...
    hidden_states = normed_states


def before_model__enumerated(self, hidden_states, layers):
    for index, decoder_layer in enumerate(layers):
        hidden_states = decoder_layer(hidden_states, **...)
    ...
    hidden_states = self.final_norm(hidden_states)


def after_model__enumerated(self, hidden_states, layers):
    decoder_layers = list(layers)
    norms = [*(layer.norm for layer in decoder_layers), self.final_norm]
    normed_states = norms[0](hidden_states)
    for index, (decoder_layer, next_norm) in enumerate(zip(decoder_layers, norms[1:])):
        hidden_states, normed_states = decoder_layer(
            hidden_states,
            normed_states=normed_states,
            next_norm=next_norm,
            **...,
        )
    ...
    hidden_states = normed_states


def not_layer_that_norms_the_branch(self, hidden_states):
    """The last addition takes a normed branch: nothing of the layer follows it, but the sum is another one."""
    residual = hidden_states
    hidden_states = self.norm(hidden_states)
    return residual + self.norm(hidden_states) * 2


def _norm(weight):
    def norm(x, residual=None):
        total = x if residual is None else residual + x
        return total * weight if residual is None else (total * weight, total)

    return norm


def proof_before(draw):
    branches = [draw.normal(2, 7, 64) for _ in range(3)]
    norms = [_norm(draw.normal(64)) for _ in range(4)]
    seen = []

    def layer(norm, branch):
        def forward(hidden_states):
            seen.append(norm(hidden_states))
            hidden_states = before_layer(draw.module(norm=norm), hidden_states, branch, hidden_states)
            seen.append(hidden_states)
            return hidden_states

        return draw.module(norm=norm, forward=forward)

    layers = [layer(norm, branch) for norm, branch in zip(norms, branches)]
    self = draw.module(final_norm=norms[-1])
    result = before_model(self, draw.normal(2, 7, 64), layers)["hidden_states"]
    enumerated = before_model__enumerated(self, draw.normal(2, 7, 64), layers)["hidden_states"]
    return result, enumerated, seen


def proof_after(draw):
    branches = [draw.normal(2, 7, 64) for _ in range(3)]
    norms = [_norm(draw.normal(64)) for _ in range(4)]
    seen = []

    def layer(norm, branch):
        def forward(hidden_states, normed_states, next_norm):
            seen.append(normed_states)
            self = draw.module(norm=norm)
            outputs = after_layer(self, hidden_states, branch, hidden_states, normed_states, next_norm)
            seen.append(outputs[0])
            return outputs

        return draw.module(norm=norm, forward=forward)

    layers = [layer(norm, branch) for norm, branch in zip(norms, branches)]
    self = draw.module(final_norm=norms[-1])
    result = after_model(self, draw.normal(2, 7, 64), layers)["hidden_states"]
    enumerated = after_model__enumerated(self, draw.normal(2, 7, 64), layers)["hidden_states"]
    return result, enumerated, seen

"""A layer that norms its branches -> as it is: no norm reads its sums

Why:      `npu_add_rms_norm` adds and then norms. Here a branch is normed and then added, and what reads the sum is a
          projection, of the next branch or of the next layer. Only the last sum of the model meets a norm.
Numerics: the source's own.
Contract: none. Sandwich norms, one before and one behind a branch, are another layer: their sums are read by a norm.
"""

from porter.rule import Edit, Rule

rule = Rule(
    edits=(
        Edit("layer", site="layer.forward", unit="function", answers=("sum", "last_sum")),
        Edit("model", site="model.forward", unit="statements"),
    ),
    attributes=("mixer", "mixer_norm", "mlp", "mlp_norm", "final_norm"),
    requires={"mixer_norm": "norm", "mlp_norm": "norm", "final_norm": "norm"},
)


def before_layer(self, hidden_states):
    """no norm reads the sums of this layer"""
    residual = hidden_states
    hidden_states, _ = self.mixer(hidden_states=hidden_states, **...)
    hidden_states = self.mixer_norm(hidden_states)
    hidden_states = residual + hidden_states
    residual = hidden_states
    hidden_states = self.mlp(hidden_states)
    hidden_states = self.mlp_norm(hidden_states)
    hidden_states = residual + hidden_states
    return hidden_states


def before_model(self, hidden_states, layers):
    """one norm in the whole model reads a sum: the last one"""
    for decoder_layer in layers:
        ...
        hidden_states = decoder_layer(hidden_states, **...)
    ...
    hidden_states = self.final_norm(hidden_states)


def before_model__enumerated(self, hidden_states, layers):
    """one norm in the whole model reads a sum: the last one"""
    for index, decoder_layer in enumerate(layers):
        ...
        hidden_states = decoder_layer(hidden_states, **...)
    ...
    hidden_states = self.final_norm(hidden_states)


def not_layer_with_a_norm_before_the_mlp(self, hidden_states, **kwargs):
    """Sandwich norms: the sum is read by one."""
    residual = hidden_states
    hidden_states, _ = self.self_attn(hidden_states=hidden_states, **kwargs)
    hidden_states = self.post_attention_layernorm(hidden_states)
    hidden_states = residual + hidden_states
    residual = hidden_states
    hidden_states = self.pre_feedforward_layernorm(hidden_states)
    hidden_states = self.mlp(hidden_states)
    hidden_states = self.post_feedforward_layernorm(hidden_states)
    hidden_states = residual + hidden_states
    return hidden_states


def not_layer_with_a_norm_before_the_mixer(self, hidden_states, **kwargs):
    """The sum of the layer before is normed first."""
    residual = hidden_states
    hidden_states = self.input_layernorm(hidden_states)
    hidden_states, _ = self.self_attn(hidden_states=hidden_states, **kwargs)
    hidden_states = self.post_attention_layernorm(hidden_states)
    hidden_states = residual + hidden_states
    residual = hidden_states
    hidden_states = self.mlp(hidden_states)
    hidden_states = self.post_feedforward_layernorm(hidden_states)
    hidden_states = residual + hidden_states
    return hidden_states

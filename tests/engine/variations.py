"""Variations of Llama under which a rule would compute something else: the pieces of its source, and the cases' form.

Each case was tried in numbers: with the rule applied, the port's logits differ from the source's or it fails to run.
"""

from __future__ import annotations

import pytest

from tests.engine.sources import Pair

FIRST_NORM = "        residual = hidden_states\n        hidden_states = self.input_layernorm(hidden_states)\n"
SUM = "        hidden_states = residual + hidden_states\n\n        # Fully Connected\n"
QUERY = "        query_states = self.q_proj(hidden_states).view(hidden_shape).transpose(1, 2)\n"
KEY = "        key_states = self.k_proj(hidden_states).view(hidden_shape).transpose(1, 2)\n"
VALUE = "        value_states = self.v_proj(hidden_states).view(hidden_shape).transpose(1, 2)\n"
ROTARY = "        cos, sin = position_embeddings\n"
UPDATE = "        if past_key_values is not None:\n            key_states, value_states"
INTERFACE = "            scaling=self.scaling,\n"
OUTPUT = "        attn_output = self.o_proj(attn_output)\n"
ACTIVATION = "        self.act_fn = ACT2FN[config.hidden_act]\n"
EMBEDDED = "        hidden_states = inputs_embeds\n"
LOOP = "        for decoder_layer in self.layers[: self.config.num_hidden_layers]:\n"
LAYER_CALL = "                hidden_states,\n                attention_mask=causal_mask,\n"
FINAL_NORM = "        hidden_states = self.norm(hidden_states)\n"
LAYERS = "[LlamaDecoderLayer(config, layer_idx) for"
NEXT_NORM = "        self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)\n"
INIT = "        self.is_causal = True\n"
PRETRAINED = "@auto_docstring\nclass LlamaPreTrainedModel"


def before(place: str, text: str) -> Pair:
    return place, text + place


def behind(place: str, text: str) -> Pair:
    return place, place + text


def case(name: str, rule: str, *pairs: Pair):
    return pytest.param(rule, pairs, id=f"{rule}: {name}")


ODD_LAYER = "class OddLayer(LlamaDecoderLayer):\n    def {}\n\n\n"
ODD_LAYERS = (LAYERS, "[LlamaDecoderLayer(config, layer_idx) if layer_idx else OddLayer(config, layer_idx) for")
PLAIN_LAYER = """class OddLayer(GradientCheckpointingLayer):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.mlp = LlamaMLP(config)
        self.input_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, hidden_states, **kwargs):
        return hidden_states + self.mlp(self.input_layernorm(hidden_states))


"""
LOCAL_ATTENTION = """class LocalAttention(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.inner = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states, attention_mask=None, **kwargs):
        return local_attention(self.inner(hidden_states), attention_mask), None


"""

"""A Llama port of the least size that uses all of porter.runtime, under the source's own class names.

The source to compare with is transformers' LlamaForCausalLM, or MistralForCausalLM where there is a sliding window.
"""

import copy

import torch
from torch import nn
from transformers import LlamaConfig, MistralConfig
from transformers import LlamaForCausalLM as SourceLlama
from transformers import MistralForCausalLM as SourceMistral
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from porter.npu import torch_npu
from porter.runtime import (
    NpuPreTrainedModel,
    RowMerge,
    actual_seq_lengths,
    kernel_mask,
    npu_causal_mask,
    npu_sliding_window_causal_mask,
    prepare_kv_cache,
)


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        return torch_npu.npu_rms_norm(x, self.weight, self.eps)[0]


class Attention(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.layer_idx = layer_idx
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        bias = getattr(config, "attention_bias", False)
        self.qkv_sizes = [
            config.num_attention_heads * self.head_dim,
            config.num_key_value_heads * self.head_dim,
            config.num_key_value_heads * self.head_dim,
        ]
        self.qkv = nn.Linear(config.hidden_size, sum(self.qkv_sizes), bias=bias)
        self.o_proj = nn.Linear(self.qkv_sizes[0], config.hidden_size, bias=bias)

    def forward(self, x, rotary, mask, past_key_values):
        shape = (*x.shape[:-1], -1, self.head_dim)
        query, key, value = (part.view(shape) for part in self.qkv(x).split(self.qkv_sizes, dim=-1))
        query, key = (torch_npu.npu_rotary_mul(states, *rotary) for states in (query, key))
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        out, _ = torch_npu.npu_fused_infer_attention_score(
            query,
            key,
            value,
            atten_mask=kernel_mask(mask, query, past_key_values, self.layer_idx),
            actual_seq_lengths_kv=actual_seq_lengths(past_key_values, self.layer_idx),
            num_heads=query.shape[2],
            num_key_value_heads=key.shape[2],
            scale=self.head_dim**-0.5,
            input_layout="BSND",
        )
        return self.o_proj(out.flatten(2))


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        bias = getattr(config, "mlp_bias", False)
        self.gate_up = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=bias)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=bias)

    def forward(self, x):
        return self.down_proj(torch_npu.npu_swiglu(self.gate_up(x)))


class LlamaDecoderLayer(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.self_attn, self.mlp = Attention(config, layer_idx), MLP(config)
        self.input_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = Norm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x, rotary, mask, past_key_values):
        x = x + self.self_attn(self.input_layernorm(x), rotary, mask, past_key_values)
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaPreTrainedModel(NpuPreTrainedModel):
    config: LlamaConfig
    base_model_prefix = "model"
    _supports_sdpa = True
    _can_record_outputs = {"hidden_states": LlamaDecoderLayer}  # noqa: RUF012
    weight_merges = (
        RowMerge("qkv", ("q_proj", "k_proj", "v_proj"), sizes="qkv_sizes"),
        RowMerge("gate_up", ("gate_proj", "up_proj")),
    )


class LlamaModel(LlamaPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(LlamaDecoderLayer(config, index) for index in range(config.num_hidden_layers))
        self.norm = Norm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config=config)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        use_cache=None,
        **kwargs,
    ):
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        past_key_values = prepare_kv_cache(self.config, past_key_values, use_cache, **kwargs)
        if position_ids is None:
            past = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = (torch.arange(x.shape[1], device=x.device) + past)[None]
        window = getattr(self.config, "sliding_window", None)
        make_mask = npu_causal_mask if window is None else npu_sliding_window_causal_mask
        mask = make_mask(
            config=self.config,
            inputs_embeds=x,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        rotary = tuple(part.unsqueeze(2) for part in self.rotary_emb(x, position_ids=position_ids))
        for layer in self.layers:
            x = layer(x, rotary, mask, past_key_values)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(x), past_key_values=past_key_values)


class LlamaForCausalLM(LlamaPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, **kwargs):
        out = self.model(input_ids, attention_mask, position_ids, past_key_values, **kwargs)
        return CausalLMOutputWithPast(
            logits=self.lm_head(out.last_hidden_state),
            past_key_values=out.past_key_values,
            hidden_states=out.hidden_states,
        )


class MistralForCausalLM(LlamaForCausalLM):
    config: MistralConfig


def tiny_config(kind=LlamaConfig, **changes):
    """Grouped heads, three layers, no end token."""
    sizes = {
        "vocab_size": 97,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": None,
    }
    return kind(**(sizes | changes))


def source_and_port(**changes):
    """A source model with random norms and biases, and the port that loaded its state dict."""
    mistral = "sliding_window" in changes
    config = tiny_config(MistralConfig if mistral else LlamaConfig, **changes)
    torch.manual_seed(0)
    source = (SourceMistral if mistral else SourceLlama)(copy.deepcopy(config)).eval()
    with torch.no_grad():
        for name, parameter in source.named_parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5) if "norm" in name else parameter.normal_(0, 0.2)
    port = (MistralForCausalLM if mistral else LlamaForCausalLM)(copy.deepcopy(config)).eval()
    port.load_state_dict(source.state_dict())
    return source, port

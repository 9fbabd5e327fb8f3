"""The two steps of a decoder that are compiled, on a small configuration with realistic widths: prefill and one decode.

Contract: batch 1, float16, head_dim 128, left padding in the mask, positions given, as a generation loop passes them. A
port with NPU attention gets a static cache and rotary tables, as the runner gives it, every other model the cache
asked for. Weights are random; nothing is loaded. Needs torch and transformers, not torch_npu.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, StaticCache

from porter.lowering.named import arguments
from porter.parallel.by_layer import in_layers
from porter.runtime import NpuPreTrainedModel, StaticKVCache, tabulate_rotary
from porter.verify.tiny import tiny_config

PROMPT, PADDING, SLOTS = 16, 3, 128
PHASES = ("prefill", "decode")
_SIZES = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd"), 512),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim"), 1024),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 256),
    "num_key_value_heads": 2,
    "head_dim": 128,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), 512),
}
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers")


@dataclass(frozen=True)
class Setting:
    """How a model is asked: its attention implementation and its cache, `growing` or `static`.

    None is a port's own attention and cache; one that kept the source's is asked for eager, which alone converts.
    """

    attention: str | None = None
    cache: str = "growing"


def configuration(config_class: Any, layers: int) -> Any:
    """A small configuration with head_dim 128 and that many layers."""
    fields = inspect.signature(config_class.__init__).parameters
    base = tiny_config(config_class)
    overrides: dict[str, Any] = {
        name: size for name, size in _SIZES.items() if name in fields and any(in_layers(base, name))
    }
    if getattr(base, "kv_lora_rank", None):  # all heads have keys of their own, expanded out of one latent
        overrides |= {"num_key_value_heads": overrides["num_attention_heads"], "head_dim": _SIZES["qk_rope_head_dim"]}
        overrides = {name: size for name, size in overrides.items() if name in fields}
    overrides |= {name: layers for name in _LAYERS if name in fields}
    total = getattr(base, "num_hidden_layers", None)
    for name in fields:  # `layer_types`, `mlp_layer_types`, ...: lists with an entry for each layer
        kinds = in_layers(base, name)[0]
        if "layer" in name and isinstance(kinds, (list, tuple)) and len(kinds) == total:
            overrides[name] = [kinds[index % len(kinds)] for index in range(layers)]
    return tiny_config(config_class, **overrides)


def run_compiled(model_class: Any, setting: Setting, layers: int, phase: str, backend: Any) -> None:
    """Compile one step of `phase` with `backend` and run it once; the steps before it run in eager."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    config = configuration(model_class.config_class, layers)
    options = (
        {} if issubclass(model_class, NpuPreTrainedModel) else {"attn_implementation": setting.attention or "eager"}
    )
    model = model_class._from_config(config, dtype=torch.float16, **options).eval()
    cache = _cache(model, setting)
    with torch.no_grad():
        if isinstance(cache, StaticKVCache):
            model(**_inputs(model, cache, 0, PROMPT))  # allocates by the states' own shapes
            if phase == "prefill":
                cache.reset()
        elif phase == "decode":
            model(**_inputs(model, cache, 0, PROMPT))
        start, count = (0, PROMPT) if phase == "prefill" else (PROMPT, 1)
        if isinstance(cache, StaticKVCache):
            cache.reserve(count)
            tabulate_rotary(model, SLOTS)  # as the runner does
        step = torch.compile(model, backend=backend, fullgraph=True, dynamic=False)
        step(**_inputs(model, cache, start, count))


def _cache(model: Any, setting: Setting) -> Any:
    if isinstance(model, NpuPreTrainedModel):
        return StaticKVCache(model.config, SLOTS)
    if setting.cache == "static":
        return StaticCache(config=model.config, max_cache_len=SLOTS)
    return DynamicCache(config=model.config)


def _inputs(model: Any, cache: Any, start: int, count: int) -> dict[str, Any]:
    fixed = not isinstance(cache, DynamicCache)
    mask = torch.ones(1, SLOTS if fixed else start + count, dtype=torch.int64)
    mask[:, :PADDING] = 0
    ids = torch.randint(3, model.config.get_text_config(decoder=True).vocab_size, (1, count))
    return arguments(model, ids, start, cache, mask)

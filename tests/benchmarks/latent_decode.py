"""A decode step over a cache of latents: port against source, and what each reads of its cache and expands.

    python tests/benchmarks/latent_decode.py [prompt tokens]...

Prints, for each length, the median of steps in turns in eager mode, their ratio, and the bytes of cache a token and
layer. What is expanded is counted, not timed: the source expands every token of the cache in every step.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time

import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

from porter.runtime import StaticKVCache, load_model_class

STEPS = 15
SIZES = {
    "vocab_size": 512,
    "hidden_size": 512,
    "intermediate_size": 1024,
    "moe_intermediate_size": 256,
    "num_hidden_layers": 2,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "q_lora_rank": 256,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "max_position_embeddings": 8192,
}


def step(model, token, cache):
    began = time.perf_counter()
    model(token, past_key_values=cache, use_cache=True)
    return time.perf_counter() - began


def main(lengths):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = DeepseekV3Config(**SIZES)
    source = DeepseekV3ForCausalLM(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        source.save_pretrained(folder)
        port = load_model_class("deepseek_v3").from_pretrained(folder, dtype=torch.float32).eval()
    heads = config.num_attention_heads
    latent = 4 * (config.kv_lora_rank + config.qk_rope_head_dim)
    expanded = 4 * heads * (config.qk_nope_head_dim + config.qk_rope_head_dim + config.v_head_dim)
    print(f"bytes a token and layer, float32: cache {latent}, expanded {expanded}")
    print("tokens  source ms  port ms  port / source")
    for length in lengths:
        ids, token = torch.randint(3, 500, (1, length)), torch.randint(3, 500, (1, 1))
        with torch.no_grad():
            ours = StaticKVCache(config, length + STEPS + 1)
            port(ids, past_key_values=ours, use_cache=True)
            theirs = source(ids, use_cache=True).past_key_values
            times = [(step(source, token, theirs), step(port, token, ours)) for _ in range(STEPS)]
        slow, quick = (1000 * statistics.median(column) for column in zip(*times, strict=True))
        print(f"{length:6d}  {slow:9.1f}  {quick:7.1f}  {quick / slow:13.2f}")


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [128, 512, 2048])

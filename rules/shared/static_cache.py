"""What every rule that puts the attention kernel in changes in the model: its cache, and what makes its masks.

The cache holds (batch, length, heads, head_dim) and never moves; masks are True where nothing is computed.
"""

import torch
from transformers.cache_utils import DynamicCache
from transformers.masking_utils import (
    create_bidirectional_mask,
    create_causal_mask,
    create_sliding_window_causal_mask,
)

from porter.rule import Argument
from porter.runtime import (
    npu_causal_mask,
    npu_encoder_mask,
    npu_sliding_window_causal_mask,
    prepare_kv_cache,
)


def before_cache(self, use_cache: Argument, cache: Argument, attention_mask, **kwargs):
    if use_cache and cache is None:
        cache = DynamicCache(config=self.config)


def before_cache__unless_traced(self, use_cache: Argument, cache: Argument, attention_mask, **kwargs):
    if use_cache and cache is None and not self.training and not torch.jit.is_tracing():
        cache = DynamicCache(config=self.config)


def after_cache(self, use_cache, cache, attention_mask, **kwargs):
    cache = prepare_kv_cache(
        self.config, cache, use_cache, attention_mask=attention_mask, **kwargs
    )


def before_mask(self):
    create_causal_mask


def after_mask(self):
    npu_causal_mask


def before_mask__window(self):
    create_sliding_window_causal_mask


def after_mask__window(self):
    npu_sliding_window_causal_mask


def before_mask__of_an_encoder(self, embeddings, mask, other):
    create_bidirectional_mask(
        config=self.config, inputs_embeds=embeddings, attention_mask=mask, encoder_hidden_states=other
    )


def after_mask__of_an_encoder(self, embeddings, mask, other):
    npu_encoder_mask(other)

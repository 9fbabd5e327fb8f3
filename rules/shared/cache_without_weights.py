"""The cache of a model that can be asked for attention weights: no kernel gives them, and asking is an error."""

from transformers.cache_utils import DynamicCache

from porter.rule import Argument
from porter.runtime import prepare_kv_cache


def before_cache(self, use_cache, cache: Argument, attention_mask, output_attentions, **kwargs):
    if use_cache and cache is None:
        cache = DynamicCache(config=self.config)


def after_cache(self, use_cache, cache, attention_mask, output_attentions, **kwargs):
    cache = prepare_kv_cache(
        self.config,
        cache,
        use_cache,
        attention_mask=attention_mask,
        output_attentions=output_attentions,
        **kwargs,
    )

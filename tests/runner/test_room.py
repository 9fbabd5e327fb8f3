"""What a token takes in the KV cache, by the configuration: of heads, or of one latent for all of them."""

from transformers import DeepseekV3Config, LlamaConfig

from porter.runner.room import _numbers_a_token
from porter.runtime import StaticKVCache, load_model_class
from porter.verify.tiny import tiny_config


def test_the_room_that_is_asked_for_is_what_the_cache_takes():
    for name, config_class in (("llama2", LlamaConfig), ("deepseek_v3", DeepseekV3Config)):
        config = tiny_config(config_class)
        port = load_model_class(name)._from_config(config).eval()
        cache = StaticKVCache(config, 32)
        ids = port.dummy_inputs["input_ids"][:1, :4].clamp(max=config.vocab_size - 1)
        port(ids, past_key_values=cache, use_cache=True)
        assert cache.nbytes == 32 * 4 * _numbers_a_token(config), name

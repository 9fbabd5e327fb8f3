"""Tiny ports whose errors show: logits wide apart, no bias at 0, no norm at 1; and how one is asked for its answers."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from porter.runtime import left_pad, load_model_class
from tests.error_rule import truth_of

PROMPTS = [[5, 9, 3, 7, 8], [11, 4, 6, 2, 9, 13, 8]]
NEW_TOKENS = 16
GROUPED = {"num_attention_heads": 8, "num_key_value_heads": 4}
# 192 is an odd number of DeepSpeed's grains of 64, and two of them an even one: by grains, down and gate_up disagree
PLAIN = {"num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 192, "tie_word_embeddings": True}


def config(**changes):
    sizes = {
        "vocab_size": 128,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.2,
        "attention_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": None,
        "pad_token_id": 0,
    }
    return LlamaConfig(**(sizes | changes))


def port(**changes):
    """The registered Llama port, the same weights in every process."""
    torch.manual_seed(0)
    model = load_model_class("llama2")(config(**changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def truth(model, folder, source_class=LlamaForCausalLM, **asked):
    """Logits as `answers` has them, of the source with the port's weights, in fp64."""
    model.save_pretrained(folder)
    ids, mask = left_pad(PROMPTS, 0)
    source = source_class.from_pretrained(folder, **asked)
    return truth_of(source)(ids, attention_mask=mask, use_cache=False).logits[mask.bool()]


def choices(model):
    """Logits (steps, B, V) that the greedy tokens of `answers` are chosen by."""
    ids, mask = left_pad(PROMPTS, 0)
    asked = {"attention_mask": mask, "max_new_tokens": NEW_TOKENS, "do_sample": False}
    return torch.stack(model.generate(ids, return_dict_in_generate=True, output_logits=True, **asked).logits)


@torch.no_grad()
def answers(model):
    """Logits (B, S, V) of the prompt's tokens, padded on the left, and greedy tokens (B, new)."""
    ids, mask = left_pad(PROMPTS, 0)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    tokens = model.generate(ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False)
    return {"logits": logits[mask.bool()], "tokens": tokens[:, ids.shape[1] :]}

"""What the unported model generates: the reference of these tests."""

import functools

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

PROMPTS = ["def parse(text):", "Where", "return the tree, and the positions of its nodes"]


@functools.cache
def source_model(checkpoint):
    return LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)


@functools.cache
def tokenizer_of(checkpoint):
    return AutoTokenizer.from_pretrained(checkpoint)


def source_rows(checkpoint, prompts, steps, **options):
    """New tokens of each prompt, each generated alone, greedily unless `options` say otherwise."""
    tokenizer, rows = tokenizer_of(checkpoint), []
    for prompt in prompts:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        options = {"do_sample": False, "pad_token_id": 1, **options}
        tokens = source_model(checkpoint).generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=steps, **options
        )
        rows.append(tuple(tokens[0, ids.shape[1] :].tolist()))
    return rows

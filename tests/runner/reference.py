"""What the unported model generates: the reference of these tests."""

import functools

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from tests.error_rule import model_roundings, surely_chosen

LENGTHS = {"input_max_len": 40, "max_new_tokens": 8}
MODES = ("eager", "dynamo")
PROMPTS = ["def parse(text):", "Where", "return the tree, and the positions of its nodes"]


def tokens(answers):
    return [answer.token_ids for answer in answers]


@functools.cache
def source_model(checkpoint):
    return LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)


@functools.cache
def tokenizer_of(checkpoint):
    return AutoTokenizer.from_pretrained(checkpoint)


def source_rows(checkpoint, prompts, steps, **options):
    """New tokens of each prompt, each generated alone, greedily unless `options` say otherwise.

    Greedy ones are the same on every machine: that no choice is a toss-up is asserted here.
    """
    tokenizer, rows = tokenizer_of(checkpoint), []
    for prompt in prompts:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        options = {"do_sample": False, "pad_token_id": 1, **options}
        model = source_model(checkpoint)
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=steps,
            return_dict_in_generate=True,
            output_logits=True,
            **options,
        )
        if not options["do_sample"]:
            surely_chosen(torch.stack(output.logits), model_roundings(model.config, output.sequences.shape[1]))
        rows.append(tuple(output.sequences[0, ids.shape[1] :].tolist()))
    return rows

"""The checked-in port of Llama, tiny, beside its source with the same weights."""

import copy
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from porter.runtime import load_model_class
from tests.runtime.toy_port import tiny_config

MODELS = Path(__file__).parents[2] / "generated_models"
IDS = torch.tensor([[5, 9, 3, 7, 8, 2, 6], [11, 4, 6, 2, 9, 13, 8]])


def source_and_port(**changes):
    """Both in eval, of random weights that come out the same each time; norms are not all ones."""
    config = tiny_config(**({"num_hidden_layers": 4} | changes))
    torch.manual_seed(0)
    source = LlamaForCausalLM(copy.deepcopy(config)).eval()
    with torch.no_grad():
        for name, parameter in source.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
    port = load_model_class("llama2", MODELS)(copy.deepcopy(config)).eval()
    port.load_state_dict(source.state_dict())
    return source, port


def greedy(model, steps=12, **arguments):
    """New tokens (2, steps) after `IDS`."""
    asked = {"attention_mask": torch.ones_like(IDS), "max_new_tokens": steps, "do_sample": False} | arguments
    return model.generate(IDS, **asked)[:, IDS.shape[1] :]

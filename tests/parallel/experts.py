"""Tiny ports with experts, latent attention and sinks, whose errors show; and their splits, wrong in one way each."""

from unittest import mock

import torch
from transformers import AutoModelForCausalLM

from porter.convert import convert
from porter.emit import Written, emit
from porter.parallel import shard
from porter.runtime import WeightSplit, left_pad, load_model_class
from porter.source import load_source
from porter.verify.tiny import tiny_config
from tests.parallel import tiny

LOOPING = {"attn_implementation": "eager", "experts_implementation": "eager"}  # what there is in fp64
# Layers with and without experts, shared ones, a router with a bias and groups, biases of experts, sinks, latents of
# queries and none of them, turned by complex numbers too, layers that are all dense where others have experts, layers
# with sinks and twice the heads of keys beside others.
SIZES = {
    "qwen3_moe": {"norm_topk_prob": True, "num_attention_heads": 8, "num_key_value_heads": 4},
    "mixtral": {},
    "glm4_moe": {"use_qk_norm": True, "n_routed_experts": 8, "n_group": 2, "attention_bias": True},
    "gpt_oss": {},
    "deepseek_v3": {"n_routed_experts": 8, "n_group": 2, "attention_bias": True},
    "deepseek_v3 without latents of queries": {"q_lora_rank": None, "num_hidden_layers": 1, "v_head_dim": 8},
    "deepseek_v2": {"attention_bias": True, "num_experts_per_tok": 3},
    "mimo_v2_flash": {"attention_bias": True},
    "qwen3_moe in one graph": {"num_hidden_layers": 1, "mlp_only_layers": []},
}
MADE = ("deepseek_v2", "mimo_v2_flash")  # not checked in
IN_ONE_GRAPH = "qwen3_moe in one graph"


def name_of(case):
    return case.partition(" ")[0]


def make_ports(models):
    """Ports of those that are not checked in, in the folder `models`."""
    for name in MADE:
        assert isinstance(emit(convert(load_source(f"transformers.models.{name}"), name=name), models / name), Written)


def registry_of(case, models):
    return models if name_of(case) in MADE else None


def port(case, models=None, **changes):
    """The registered port, the same weights in every process: no bias at 0, no norm at 1. `models`: of `make_ports`."""
    model_class = load_model_class(name_of(case), registry_of(case, models))
    given = {"initializer_range": 0.2, "eos_token_id": None, **SIZES[case], **changes}
    torch.manual_seed(0)
    model = model_class._from_config(tiny_config(model_class.config_class, **given), attn_implementation="eager").eval()
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if "inv_freq" not in name and (tensor.dim() == 1 or name.endswith("bias")):
                tensor.add_(torch.randn_like(tensor) * 0.3)
    return model


def alone(case, folder, models):
    """Answers of one process, and the truth of their logits in fp64."""
    model = port(case, models)
    truth = tiny.truth(model, folder, AutoModelForCausalLM, **LOOPING)
    return {**tiny.answers(model), "choices": tiny.choices(model), "truth": truth, "config": model.config}


def sharded(case, models=None):
    return shard(port(case, models), name_of(case), 2, models=registry_of(case, models))


@torch.no_grad()
def logits(model):
    """Of the prompts' tokens alone."""
    ids, mask = left_pad(tiny.PROMPTS, 0)
    return model(input_ids=ids, attention_mask=mask, use_cache=False).logits[mask.bool()]


# --- controls: (model, what is split wrongly)

_part = WeightSplit.part


def _as(how, name=None, rank=None):
    """Weights called `name`, or those split in the way `name`, in another way; or each rank with the part of `rank`."""

    def part(split, weight, own_rank, ranks):
        if name not in (split.name, split.how):
            return _part(split, weight, own_rank, ranks)
        changed = WeightSplit(split.owner, split.name, how or split.how, split.dimension)
        return _part(changed, weight, own_rank if rank is None else rank, ranks)

    return mock.patch.object(WeightSplit, "part", part)


WRONG = {
    "experts are not summed": ("mixtral", lambda: mock.patch("porter.parallel.summed.sum_outputs")),
    "gate and up are cut as one": ("qwen3_moe", lambda: _as("pieces", "halves")),
    "pairs of gate and up are parted": ("gpt_oss", lambda: _as("halves", "pairs")),
    "every rank adds the biases of experts": ("gpt_oss", lambda: _as("whole", "once")),
    "every rank has the sinks of the first": ("gpt_oss", lambda: _as(None, "sinks", 0)),
    "every rank has the keys and values of the first": ("deepseek_v3", lambda: _as(None, "kv_b_proj", 0)),
    "and of latents turned by complex numbers": ("deepseek_v2", lambda: _as(None, "kv_b_proj", 0)),
    "every rank has the sinks of some layers of the first": ("mimo_v2_flash", lambda: _as(None, "sinks", 0)),
}


def wrong(control, models):
    case, change = WRONG[control]
    with change():
        return logits(sharded(case, models))

"""Adapters of every kind that PEFT puts on linears, embeddings and norms, random, made on the source; what to ask."""

import warnings

import peft
import torch
from safetensors.torch import load_file

SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
NORMS = ["input_layernorm", "post_attention_layernorm", "norm"]


def lora(targets=SEVEN, **options):
    return peft.LoraConfig(target_modules=targets, **{"r": 4, "lora_alpha": 6, **options})


KINDS = {
    "LoRA on all seven": lambda: lora(task_type="CAUSAL_LM"),
    "LoRA on q and v": lambda: lora(["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    "LoRA on up alone": lambda: lora(["up_proj"]),
    "LoRA on all linears": lambda: lora("all-linear"),
    "LoRA by a regex": lambda: lora(r".*layers\.[01]\.(self_attn\.[qk]_proj|mlp\.up_proj)"),
    "LoRA on one layer": lambda: lora(layers_to_transform=[1]),
    "LoRA without k": lambda: lora(exclude_modules=["k_proj"]),
    "LoRA of several ranks": lambda: lora(rank_pattern={"q_proj": 2, "1.mlp.up_proj": 6}, alpha_pattern={"k_proj": 3}),
    "LoRA on embeddings and head": lambda: lora([*SEVEN, "embed_tokens", "lm_head"]),
    "LoRA by parameter": lambda: lora([], target_parameters=["self_attn.q_proj.weight", "mlp.gate_proj.weight"]),
    "LoRA with biases of its own": lambda: lora(["v_proj", "up_proj"], lora_bias=True),
    "LoRA and all biases": lambda: lora(bias="all"),
    "LoRA and saved modules": lambda: lora(modules_to_save=["embed_tokens", "lm_head"]),
    "LoRA and a saved MLP": lambda: lora(["q_proj"], modules_to_save=["mlp"]),
    "LoRA and trained tokens": lambda: lora(trainable_token_indices=[3, 5, 9]),
    "LoRA with layers repeated": lambda: lora(layer_replication=[(0, 2), (1, 3)]),
    "rank-stabilized LoRA": lambda: lora(use_rslora=True),
    "DoRA": lambda: lora(use_dora=True),
    "PiSSA": lambda: lora(init_lora_weights="pissa"),
    "AdaLoRA": lambda: peft.AdaLoraConfig(target_modules=SEVEN, total_step=10),
    "IA3": lambda: peft.IA3Config(target_modules=SEVEN, feedforward_modules=["down_proj"]),
    "IA3 by default": lambda: peft.IA3Config(task_type="CAUSAL_LM"),
    "LoHa": lambda: peft.LoHaConfig(target_modules=SEVEN, r=4),
    "LoKr": lambda: peft.LoKrConfig(target_modules=SEVEN, r=4),
    "OFT": lambda: peft.OFTConfig(target_modules=SEVEN, oft_block_size=4),
    "BOFT": lambda: peft.BOFTConfig(target_modules=SEVEN, boft_block_size=4),
    "VeRA": lambda: peft.VeraConfig(target_modules=["q_proj", "o_proj"], r=4),
    "norms": lambda: peft.LNTuningConfig(target_modules=NORMS),
    "tokens": lambda: peft.TrainableTokensConfig(token_indices=[5, 9, 3]),
    "a prompt": lambda: peft.PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
    "an encoded prompt": lambda: peft.PromptEncoderConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
}

# kinds that are used less, whose tests are fewer
RARER = {
    "OLoRA": lambda: lora(init_lora_weights="olora"),
    "orthogonal LoRA": lambda: lora(init_lora_weights="orthogonal"),
    "DoRA on embeddings": lambda: lora([*SEVEN, "embed_tokens"], use_dora=True, use_rslora=True),
    "LoRA of ranks by path": lambda: lora(
        rank_pattern={r".*\.0\.self_attn\.k_proj": 8}, alpha_pattern={"^model.layers.0.mlp.gate_proj": 9}
    ),
    "LoRA by layers and pattern": lambda: lora(layers_to_transform=[0, 2], layers_pattern="layers"),
    "activated LoRA": lambda: lora(alora_invocation_tokens=[5, 9], task_type="CAUSAL_LM"),
    "C3A": lambda: peft.C3AConfig(target_modules=SEVEN, block_size=8),
    "DEFT": lambda: peft.DeftConfig(target_modules=SEVEN, r=4),
    "DeLoRA": lambda: peft.DeloraConfig(target_modules=SEVEN, r=4),
    "FourierFT": lambda: peft.FourierFTConfig(target_modules=SEVEN, n_frequency=50),
    "GraLoRA": lambda: peft.GraloraConfig(target_modules=SEVEN, r=4),
    "HiRA": lambda: peft.HiraConfig(target_modules=SEVEN, r=4),
    "HRA": lambda: peft.HRAConfig(target_modules=SEVEN, r=4),
    "MiSS": lambda: peft.MissConfig(target_modules=SEVEN, r=4),
    "OSF": lambda: peft.OSFConfig(target_modules=SEVEN),
    "RandLoRA": lambda: peft.RandLoraConfig(target_modules=SEVEN, r=4),
    "RoAd": lambda: peft.RoadConfig(target_modules=SEVEN, group_size=8),
    "SHiRA": lambda: peft.ShiraConfig(target_modules=SEVEN, r=4),
    "VBLoRA": lambda: peft.VBLoRAConfig(target_modules=SEVEN, vector_length=4, num_vectors=16, r=4),
    "WaveFT": lambda: peft.WaveFTConfig(target_modules=SEVEN, n_frequency=50),
    "a context prompt": lambda: peft.CPTConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    "a shadow": lambda: peft.ShadowConfig(task_type="CAUSAL_LM"),
}


def put_on(model, config, seed=1):
    """PEFT's model around `model`, every weight of the adapter moved away from where it does nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        tuned = peft.get_peft_model(model, config).eval()
    with torch.no_grad():
        for _, parameter in sorted(tuned.named_parameters()):
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return tuned


def write_adapter(model, config, folder, seed=1):
    """An adapter made on `model`, the source, and written as PEFT does."""
    tuned = put_on(model, config, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuned.save_pretrained(folder)
    return tuned


def load_on(model, folder, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.PeftModel.from_pretrained(model, folder, **options).eval()


IDS = torch.tensor([[5, 9, 3, 7, 8, 41, 2], [44, 3, 12, 9, 5, 6, 33]])


@torch.no_grad()
def logits(model, ids=IDS, **options):
    return model(input_ids=ids, **options).logits


def tokens(model):
    return model.generate(input_ids=IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=12, do_sample=False)


def error(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def assert_same_file(one, other, name):
    one, other = (load_file(folder / name) for folder in (one, other))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def is_merged(port):
    layer = port.get_decoder().layers[0]
    children = [*dict(layer.self_attn.named_children()), *dict(layer.mlp.named_children())]
    return "qkv" in children and "gate_up" in children and not set(SEVEN[:3]) & set(children)

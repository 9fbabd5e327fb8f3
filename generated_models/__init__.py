"""The ported models of this folder. Written by porter from their port.json files: do not edit.

Two tables in the shape launchers know. They are plain literals: reading them imports no model.
"""

# name: (module, class)
_MODELS = {
    "llama2": ("modeling_llama", "LlamaForCausalLM"),
}

# name: (module, layer class, outputs to sum over ranks)
_MODEL_INJECTION_POLICY = {
    "llama2": ("modeling_llama", "LlamaDecoderLayer", ("self_attn.o_proj", "mlp.down_proj")),
}

"""The ported models of this folder. Written by porter from their port.json files: do not edit.

Two tables in the shape launchers know. They are plain literals: reading them imports no model.
"""

# name: (module, class)
_MODELS = {
    "gemma3": ("modeling_gemma3", "Gemma3ForCausalLM"),
    "llama2": ("modeling_llama", "LlamaForCausalLM"),
    "phi3": ("modeling_phi3", "Phi3ForCausalLM"),
    "qwen3": ("modeling_qwen3", "Qwen3ForCausalLM"),
}

# name: (module, layer class, outputs to sum over ranks)
_MODEL_INJECTION_POLICY = {
    "gemma3": ("modeling_gemma3", "Gemma3DecoderLayer", ("self_attn.o_proj", "mlp.down_proj")),
    "llama2": ("modeling_llama", "LlamaDecoderLayer", ("self_attn.o_proj", "mlp.down_proj")),
    "phi3": ("modeling_phi3", "Phi3DecoderLayer", ("self_attn.o_proj", "mlp.down_proj")),
    "qwen3": ("modeling_qwen3", "Qwen3DecoderLayer", ("self_attn.o_proj", "mlp.down_proj")),
}

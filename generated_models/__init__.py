"""The ported models of this folder. Written by porter from their port.json files: do not edit.

Two tables in the shape launchers know. They are plain literals: reading them imports no model.
"""

# name: (module, class)
_MODELS = {
    "deepseek_v3": ("modeling_deepseek_v3", "DeepseekV3ForCausalLM"),
    "gemma3": ("modeling_gemma3", "Gemma3ForCausalLM"),
    "glm4_moe": ("modeling_glm4_moe", "Glm4MoeForCausalLM"),
    "gpt_oss": ("modeling_gpt_oss", "GptOssForCausalLM"),
    "llama2": ("modeling_llama", "LlamaForCausalLM"),
    "mixtral": ("modeling_mixtral", "MixtralForCausalLM"),
    "phi3": ("modeling_phi3", "Phi3ForCausalLM"),
    "qwen3": ("modeling_qwen3", "Qwen3ForCausalLM"),
    "qwen3_moe": ("modeling_qwen3_moe", "Qwen3MoeForCausalLM"),
}

# name: (module, layer class, outputs to sum over ranks)
_MODEL_INJECTION_POLICY = {
    "deepseek_v3": ("modeling_deepseek_v3", "DeepseekV3DecoderLayer", ("self_attn.o_proj", "mlp.experts", "mlp.shared_experts.down_proj", "mlp.down_proj")),
    "gemma3": ("modeling_gemma3", "Gemma3DecoderLayer", ("self_attn.o_proj", "mlp.down_proj")),
    "glm4_moe": ("modeling_glm4_moe", "Glm4MoeDecoderLayer", ("self_attn.o_proj", "mlp.experts", "mlp.shared_experts.down_proj", "mlp.down_proj")),
    "gpt_oss": ("modeling_gpt_oss", "GptOssDecoderLayer", ("self_attn.o_proj", "mlp.experts")),
    "llama2": ("modeling_llama", "LlamaDecoderLayer", ("self_attn.o_proj", "mlp.down_proj")),
    "mixtral": ("modeling_mixtral", "MixtralDecoderLayer", ("self_attn.o_proj", "mlp.experts")),
    "phi3": ("modeling_phi3", "Phi3DecoderLayer", ("self_attn.o_proj", "mlp.down_proj")),
    "qwen3": ("modeling_qwen3", "Qwen3DecoderLayer", ("self_attn.o_proj", "mlp.down_proj")),
    "qwen3_moe": ("modeling_qwen3_moe", "Qwen3MoeDecoderLayer", ("self_attn.o_proj", "mlp.experts", "mlp.down_proj")),
}

"""Glm4MoeForCausalLM, ported to Ascend NPU by porter. Where it came from and what changed: port.json, port.diff."""

import porter.runtime  # before the model: it refuses a transformers that porter was not tested with

from .modeling_glm4_moe import (
    Glm4MoePreTrainedModel,
    Glm4MoeModel,
    Glm4MoeForCausalLM,
)

__all__ = [
    "Glm4MoePreTrainedModel",
    "Glm4MoeModel",
    "Glm4MoeForCausalLM",
]

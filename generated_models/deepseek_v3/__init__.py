"""DeepseekV3ForCausalLM, ported to Ascend NPU by porter. Where it came from and what changed: port.json, port.diff."""

import porter.runtime  # before the model: it refuses a transformers that porter was not tested with

from .modeling_deepseek_v3 import (
    DeepseekV3PreTrainedModel,
    DeepseekV3Model,
    DeepseekV3ForCausalLM,
    DeepseekV3ForSequenceClassification,
    DeepseekV3ForTokenClassification,
)

__all__ = [
    "DeepseekV3PreTrainedModel",
    "DeepseekV3Model",
    "DeepseekV3ForCausalLM",
    "DeepseekV3ForSequenceClassification",
    "DeepseekV3ForTokenClassification",
]

"""Gemma3ForCausalLM, ported to Ascend NPU by porter. Where it came from and what changed: port.json, port.diff."""

import porter.runtime  # before the model: it refuses a transformers that porter was not tested with

from .modeling_gemma3 import (
    Gemma3PreTrainedModel,
    Gemma3TextModel,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3Model,
    Gemma3ForSequenceClassification,
    Gemma3TextForSequenceClassification,
)

__all__ = [
    "Gemma3PreTrainedModel",
    "Gemma3TextModel",
    "Gemma3ForCausalLM",
    "Gemma3ForConditionalGeneration",
    "Gemma3Model",
    "Gemma3ForSequenceClassification",
    "Gemma3TextForSequenceClassification",
]

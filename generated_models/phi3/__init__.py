"""Phi3ForCausalLM, ported to Ascend NPU by porter. Where it came from and what changed: port.json, port.diff."""

import porter.runtime  # before the model: it refuses a transformers that porter was not tested with

from .modeling_phi3 import (
    Phi3PreTrainedModel,
    Phi3Model,
    Phi3ForCausalLM,
    Phi3ForSequenceClassification,
    Phi3ForTokenClassification,
)

__all__ = [
    "Phi3PreTrainedModel",
    "Phi3Model",
    "Phi3ForCausalLM",
    "Phi3ForSequenceClassification",
    "Phi3ForTokenClassification",
]

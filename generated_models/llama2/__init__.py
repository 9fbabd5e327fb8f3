"""LlamaForCausalLM, ported to Ascend NPU by porter. Where it came from and what changed: port.json, port.diff."""

import porter.runtime  # before the model: it refuses a transformers that porter was not tested with

from .modeling_llama import (
    LlamaForCausalLM,
    LlamaModel,
    LlamaPreTrainedModel,
    LlamaForSequenceClassification,
    LlamaForQuestionAnswering,
    LlamaForTokenClassification,
)

__all__ = [
    "LlamaForCausalLM",
    "LlamaModel",
    "LlamaPreTrainedModel",
    "LlamaForSequenceClassification",
    "LlamaForQuestionAnswering",
    "LlamaForTokenClassification",
]

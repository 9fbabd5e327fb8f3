"""MixtralForCausalLM, ported to Ascend NPU by porter. Where it came from and what changed: port.json, port.diff."""

import porter.runtime  # before the model: it refuses a transformers that porter was not tested with

from .modeling_mixtral import (
    MixtralForCausalLM,
    MixtralForQuestionAnswering,
    MixtralModel,
    MixtralPreTrainedModel,
    MixtralForSequenceClassification,
    MixtralForTokenClassification,
)

__all__ = [
    "MixtralForCausalLM",
    "MixtralForQuestionAnswering",
    "MixtralModel",
    "MixtralPreTrainedModel",
    "MixtralForSequenceClassification",
    "MixtralForTokenClassification",
]

"""GptOssForCausalLM, ported to Ascend NPU by porter. Where it came from and what changed: port.json, port.diff."""

import porter.runtime  # before the model: it refuses a transformers that porter was not tested with

from .modeling_gpt_oss import (
    GptOssForCausalLM,
    GptOssForSequenceClassification,
    GptOssForTokenClassification,
    GptOssModel,
    GptOssPreTrainedModel,
)

__all__ = [
    "GptOssForCausalLM",
    "GptOssForSequenceClassification",
    "GptOssForTokenClassification",
    "GptOssModel",
    "GptOssPreTrainedModel",
]

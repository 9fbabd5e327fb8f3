"""Parity: a converted model passes every check, and each kind of damage is found by the check that is for it."""

import pytest
import torch

from porter.diagnostics import Refused
from porter.verify.parity import verify

FP32 = 1e-5

MASK = "kernel_mask(attention_mask, query_states, past_key_values, self.layer_idx)"


def outcomes(checks):
    return {(check.variant, check.name): check for check in checks}


@pytest.fixture
def in_float32(monkeypatch):
    """For damage that checks in float32 find: those in 16 bits measure longest where a port is wrong."""
    monkeypatch.setattr("porter.verify.parity._PRECISION", {})


@pytest.fixture(scope="module")
def llama_checks(llama):
    return verify(llama)


def test_the_llama_port_passes_everything_that_applies(llama_checks):
    failed = [check for check in llama_checks if check.failed]
    assert not failed
    assert sum(check.passed for check in llama_checks) > 150


def test_every_property_a_port_must_carry_over_is_checked(llama_checks):
    covered = {check.variant for check in llama_checks if check.name == "greedy tokens" and check.passed}
    assert covered == {
        "base",
        "plain heads",
        "one kv head",
        "head_dim unlike hidden/heads",
        "biases",
        "tied embeddings",
        "linear rope",
        "dynamic rope",
        "llama3 rope",
        "yarn rope",
    }


def test_every_check_has_its_figure_and_limit(llama_checks):
    for check in llama_checks:
        if check.passed:
            assert check.figure is not None and check.limit is not None and check.figure <= check.limit
            assert check.unit
    ops = outcomes(llama_checks)["base", "NPU ops run"].detail
    assert "npu_fused_infer_attention_score" in ops and "npu_rotary_mul" in ops


def test_what_does_not_apply_says_why_and_has_not_passed(llama_checks):
    window = outcomes(llama_checks)["base", "past the sliding window"]
    assert window.outcome == "not applicable" and not window.passed and window.detail


def test_a_sliding_window_is_checked_where_there_is_one(mistral):
    checks = outcomes(verify(mistral, quick=True))
    assert not [check for check in checks.values() if check.failed]
    window = checks["base", "past the sliding window"]
    assert window.passed and "without the window off by" in window.detail


@pytest.mark.parametrize(
    ("old", "new", "found_by"),
    [
        (
            MASK,
            f"(lambda mask: None if mask is None else mask.triu(1) ^ mask)({MASK})",
            {"fp32 logits", "left padding: logits", "greedy tokens"},
        ),
        ('("q_proj", "k_proj", "v_proj")', '("q_proj", "v_proj", "k_proj")', {"fp32 logits", "keys and values"}),
        ('("gate_proj", "up_proj")', '("up_proj", "gate_proj")', {"fp32 logits", "hidden states"}),
        ("scale=self.scaling", "scale=self.scaling * 1.001", {"fp32 logits", "hidden states"}),
        (
            "self.weight, self.variance_epsilon)[0]",
            "self.weight, 1e-3)[0]",
            {"fp32 logits", "without cache", "inputs_embeds"},
        ),
        ("logits = self.lm_head(", "logits = self.lm_head.half().float()(", {"fp32 logits"}),
    ],
    ids=["mask", "v before k", "up before gate", "scale", "epsilon", "head rounded to fp16"],
)
def test_a_damaged_port_fails_where_it_is_damaged(broken, in_float32, old, new, found_by):
    checks = verify(broken(old, new), quick=True)
    failed = {check.name for check in checks if check.failed}
    assert found_by <= failed


def test_flipped_mask_polarity_fails(broken, in_float32):
    """Everything that should be seen is hidden: wrong values or an error of the op, never a pass."""
    flipped = f"(lambda mask: None if mask is None else ~mask)({MASK})"
    failed = {check.name for check in verify(broken(MASK, flipped), quick=True) if check.failed}
    assert {"fp32 logits", "greedy tokens", "left padding: logits", "chunked prefill"} <= failed


def test_less_precision_than_the_source_fails_the_error_rule(broken):
    """One rounding to fewer bits per layer: invisible in nothing but the 16-bit checks."""
    coarse = "attn_output = attn_output.bfloat16().to(attn_output.dtype) if attn_output.dtype == torch.float16"
    line = "        attn_output = self.o_proj(attn_output)"
    place = broken(line, f"        {coarse} else attn_output\n{line}")
    failed = {check.name for check in verify(place, quick=True) if check.failed}
    assert failed == {"fp16 by the error rule"}


def test_a_port_that_touches_the_source_class_is_found(broken, in_float32):
    damage = (
        "\nimport transformers.models.llama.modeling_llama as _source\n"
        "_forward = _source.LlamaRMSNorm.forward\n"
        "_source.LlamaRMSNorm.forward = lambda self, x: _forward(self, x) * 1.001\n"
    )
    place = broken("class LlamaRotaryEmbedding", damage + "\n\nclass LlamaRotaryEmbedding")
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    forward = LlamaRMSNorm.forward
    try:
        failed = {check.name for check in verify(place, quick=True) if check.failed}
    finally:
        LlamaRMSNorm.forward = forward
    assert "source unaffected" in failed


def test_a_copy_of_the_source_is_not_a_port(broken, in_float32):
    place = broken("class LlamaRotaryEmbedding", "class LlamaRotaryEmbedding")
    text = "from transformers.models.llama.modeling_llama import LlamaForCausalLM\n"
    (place / "modeling_llama.py").write_text(text)
    failed = {check.name for check in verify(place, quick=True, edited=True) if check.failed}
    assert {"NPU ops run", "source unaffected"} <= failed


def test_a_port_that_does_not_load_is_one_failed_check(broken):
    place = broken("class LlamaRotaryEmbedding", "raise RuntimeError('no')\n\n\nclass LlamaRotaryEmbedding")
    failed = [check for check in verify(place, quick=True) if check.failed]
    assert [check.name for check in failed] == ["loads"] and "RuntimeError: no" in failed[0].detail


def test_a_folder_without_a_port_is_refused(tmp_path):
    assert isinstance(verify(tmp_path), Refused)


def test_threads_are_given_back(llama, in_float32, two_threads):
    verify(llama, quick=True)
    assert torch.get_num_threads() == two_threads

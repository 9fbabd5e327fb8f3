"""Verdicts that say of an op that there is none, or that it is not exact, against the real wheel and the error rule."""

from __future__ import annotations

import re

import pytest
import torch

from porter.diagnostics import Refused
from porter.lowering.process import ask
from porter.npu import torch_npu
from porter.rulebook import load_rules
from porter.shipped import shipped
from porter.verify.draw import Draw
from porter.verify.error_rule import compare
from porter.verify.float64 import InFloat64
from tests.npu.test_conformance import call, t

SIXTEEN = [torch.bfloat16, torch.float16]


@pytest.fixture(scope="module")
def signatures(wheel):
    """Every op of the wheel: its name and its arguments, as its own list has them."""
    listed = (wheel.package / "csrc" / "aten" / "npu_native_functions_by_codegen.yaml").read_text()
    found = dict(re.findall(r"func: (?:npu::)?(\w+)(?:\.\w+)?\((.*)\) ->", listed))
    assert len(found) > 200 and "input_layout" in found["npu_fused_infer_attention_score"]
    return found


def test_no_op_has_a_soft_cap(signatures):
    assert not [name for name, arguments in signatures.items() if re.search(r"cap\b|softcap|logit_cap", arguments)]


def test_what_gates_an_activation_is_silu_and_gelu(signatures):
    fused = "quant|grad|backward|group|matmul"
    gated = {name for name in signatures if re.match("npu_.*glu", name) and not re.search(fused, name)}
    assert {"npu_swiglu", "npu_geglu"} <= gated <= {"npu_swiglu", "npu_geglu", "npu_clipped_swiglu"}
    assert not [name for name in signatures if "reglu" in name or "relu2" in name]


def test_the_addition_before_a_layer_norm_does_not_lower(wheel):
    wide, row = t(2, 7, 64), t(64)
    calls = [call("npu_add_layer_norm", wide, wide, row, row), call("npu_rms_norm", wide, row)]
    job = {"soc": "Ascend910B3", "ops": [], "calls": [], "directory": "", "lowered": calls}
    answer = ask("conformance", job, lambda *step: None)
    assert not isinstance(answer, Refused), answer
    added, normed = answer["lowered"]
    assert "stopped" in added and "nodes" in normed


def _sum_and_norm(draw: Draw, *, centered: bool, fused: bool) -> torch.Tensor:
    """A sum and the norm behind it, as the source computes it in fp32, or by the fused op."""
    x, residual, weight = draw.normal(2, 7, 64), draw.normal(2, 7, 64), draw.normal(64)
    if fused:
        gamma = (1.0 + weight.float()).to(x.dtype) if centered else weight
        return torch_npu.npu_add_rms_norm(residual, x, gamma, 1e-6)[0]
    total = (residual + x).to(torch.float32)
    normed = total * torch.rsqrt(total.pow(2).mean(-1, keepdim=True) + 1e-6)
    gamma = 1.0 + weight.to(torch.float32) if centered else weight.to(torch.float32)
    return (normed * gamma).to(x.dtype)


@pytest.mark.parametrize("dtype", SIXTEEN, ids=str)
@pytest.mark.parametrize("centered", [False, True], ids=["weight in fp32", "one plus the weight"])
def test_the_fused_addition_is_not_exact_for_norms_that_close_sums(dtype, centered):
    faults = []
    for seed in range(16):
        draw = Draw(seed, dtype)
        with InFloat64():
            truth = _sum_and_norm(draw.in_float64(), centered=centered, fused=False)
        sides = (_sum_and_norm(draw.again(), centered=centered, fused=fused) for fused in (False, True))
        faults += compare(*sides, truth, {})
    assert faults


def test_every_reason_that_closes_a_need_is_one_of_these():
    rules = load_rules(shipped("rules"))
    assert not isinstance(rules, Refused)
    reasons = {why.partition(":")[0] for rule in rules for why in rule.declared.closes}
    known = {
        "TorchAir has no converter for npu_add_layer_norm",
        "npu_add_rms_norm rounds twice",
        "npu_add_rms_norm wants gamma in the dtype of x",
    }
    assert reasons == known, reasons ^ known

"""Norms of every spelling that rules take, in real files; variations under which that would be wrong are left."""

from __future__ import annotations

import pytest

from porter.convert import inspect
from tests.engine.sources import port, source_of, varied, why

TAKEN = [
    ("cohere", "CohereLayerNorm", "layer_norm_wide"),
    ("olmo", "OlmoLayerNorm", "layer_norm_wide"),
    ("moshi", "MoshiRMSNorm", "norm_rms_helper"),
    ("gemma3n", "Gemma3nRMSNorm", "norm_rms_helper"),
    ("gemma4", "Gemma4RMSNorm", "norm_rms_helper"),
    ("llama4", "Llama4TextRMSNorm", "norm_rms_helper_cast_first"),
    ("llama4", "Llama4TextL2Norm", "norm_rms_without_weight"),
    ("hrm_text", "HrmTextRMSNorm", "norm_rms_without_weight_residual"),
    ("deepseek_v4", "DeepseekV4UnweightedRMSNorm", "norm_rms_reciprocal"),
    ("hy_v4", "HYV4UnweightedRMSNorm", "norm_rms_reciprocal"),
    ("qwen3_next", "Qwen3NextRMSNormGated", "norm_rms_gated"),
    ("kimi_linear", "KimiLinearRMSNormGated", "norm_rms_gated"),
    ("bamba", "BambaRMSNormGated", "norm_rms_grouped"),
]
HELPER = "return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)"
CENTERED = f"x = x - x.mean(-1, keepdim=True)\n        {HELPER}"


@pytest.mark.parametrize(("model", "cls", "rule"), TAKEN)
def test_real_norms_are_taken(model, cls, rule):
    sites = inspect(source_of(model)).sites
    (norm,) = [site for site in sites if site.name == f"{cls}.forward"]
    assert (norm.kind, norm.status, norm.rules) == ("norm", "ported", (rule,))


def test_a_call_of_layer_norm_has_a_verdict():
    (norm,) = [site for site in inspect(source_of("nemotron")).sites if site.kind == "norm"]
    assert (norm.status, norm.rules) == ("verdict", ("layer_norm_called",))


def left(name, model, *pairs):
    return pytest.param(model, pairs, id=name)


@pytest.mark.parametrize(
    ("model", "pairs"),
    [
        *(left(f"the helper of {m} centers", m, (HELPER, CENTERED)) for m in ("gemma", "moshi", "hrm_text", "llama4")),
        left("a row of weights for each head", "gemma", ("torch.zeros(dim)", "torch.zeros(4, dim)")),
        left("a row of weights for each head, moshi", "moshi", ("torch.ones(dim)", "torch.ones(4, dim)")),
        left("the helper norms another dimension", "moshi", (HELPER, HELPER.replace("-1", "1"))),
        left("the helper divides by the length", "hrm_text", (HELPER, HELPER.replace("mean", "sum"))),
        left("the weight is shifted", "moshi", ("self.weight.float()", "(2.0 + self.weight.float())")),
        left("what is normed stays wide", "hrm_text", ("self._norm(x.float()).type_as(x)", "self._norm(x.float())")),
        left("nothing is centred", "cohere", ("hidden_states - mean", "hidden_states")),
        left("a bias is added", "cohere", ("self.weight.to(torch.float32) *", "self.bias + self.weight.float() *")),
        left("other dimensions", "olmo", ("None, None, eps=1e-5", "self.weight, None, eps=1e-5")),
    ],
)
def test_where_it_would_be_wrong_the_norm_is_left(model, pairs):
    ported = port(varied(*pairs, model=model), model)
    norms = [site for site in ported.sites if site.kind == "norm"]
    assert norms and all(site.status == "left" for site in norms), why(ported)

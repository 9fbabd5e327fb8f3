"""Needs of sites: one answer is enough, a verdict is an answer, and what no rule can answer is said and not left."""

from __future__ import annotations

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.rewrite import Ported
from tests.engine.sources import accepted, free_standing, port, source_of, varied, write_rule
from tests.engine.test_plan import MODEL, statements

AT_KERNEL = 'Rule(edits=(Edit(site="attention.forward", answers=("kernel",)),))'
PORTED = ("one", AT_KERNEL, statements("x = first(p)", "x = fast(p)"))
OTHER = ("two", AT_KERNEL, statements("x = elsewhere(p)", "x = fast(p)"))
VERDICT = (
    "three",
    'Rule(edits=(Edit(site="attention.forward", answers=("second",)),))',
    'def before(p):\n    """no op does\n    it"""\n    x = second(p)\n',
)
LAYER = (
    "four",
    'Rule(edits=(Edit(site="layer.forward"),))',
    statements("return self.attn(p)", "return fast(p)", "self, p"),
)


@pytest.fixture
def status(tmp_path):
    """Status and reason of a site of MODEL, by rules given as (name, declaration, functions)."""

    def run(*rules: tuple[str, str, str], site: str = "Attention.forward", model: str = MODEL, **options):
        for name, declaration, functions in rules:
            write_rule(tmp_path / "rules", functions, name, declaration)
        outcome = convert(free_standing(model), name="tiny", rules_directory=tmp_path / "rules", **options)
        ported = accepted(outcome)
        found = next(each for each in ported.sites if each.name == site)
        return found.status, found.rules, found.reason or ""

    return run


def test_one_rule_is_enough_for_a_need(status):
    assert status(PORTED, OTHER) == ("ported", ("one",), "")


def test_rules_without_a_common_need_are_all_wanted(status):
    name, declaration, functions = OTHER
    apart = (name, declaration.replace("kernel", "other"), functions)
    assert status(PORTED, apart)[:2] == ("partly", ("one",))
    plain = (name, declaration.replace(', answers=("kernel",)', ""), functions)
    assert status(PORTED, plain)[:2] == ("partly", ("one",))


def test_a_verdict_answers_a_need_and_changes_nothing(status):
    assert status(PORTED, VERDICT) == ("ported", ("one",), "")
    assert status(PORTED)[0] == "ported"


def test_a_verdict_alone_is_a_status_of_its_own_with_its_reason(status):
    assert status(LAYER, VERDICT) == ("verdict", ("three",), "no op does it")


def test_a_verdict_beside_a_need_that_nothing_answers_is_no_whole_site(status):
    assert status(OTHER, VERDICT, LAYER)[0] == "left"


def test_a_verdict_alone_ports_nothing(tmp_path):
    name, declaration, functions = VERDICT
    write_rule(tmp_path / "rules", functions, name, declaration)
    outcome = convert(free_standing(MODEL), name="tiny", rules_directory=tmp_path / "rules")
    assert isinstance(outcome, Refused) and outcome.diagnostics[0].code == "P103"


def test_what_no_rule_can_answer_because_of_the_norms_is_a_verdict():
    ported = port(
        varied(("LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)", "nn.LayerNorm(config.hidden_size)"))
    )
    found = {site.name: (site.status, site.reason) for site in ported.sites}
    reason = "TorchAir has no converter for npu_add_layer_norm"
    assert found["LlamaDecoderLayer.forward"] == ("verdict", reason)
    assert found["LlamaModel.forward"] == ("ported", None)  # its cache is; the sum before its norm needs no answer


@pytest.mark.parametrize("one_of_two", ["self.input_layernorm", "self.post_attention_layernorm"])
def test_one_norm_that_an_op_would_take_is_enough_to_want_it(one_of_two):
    line = f"{one_of_two} = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)"
    ported = port(varied((line, f"{one_of_two} = nn.LayerNorm(config.hidden_size)")))
    layer = next(site for site in ported.sites if site.kind == "layer")
    assert layer.status in ("partly", "left")


@pytest.mark.parametrize(("norms", "status"), [(1, "left"), (2, "verdict")])
def test_a_norm_that_a_configuration_makes_of_one_class_or_another_must_do_for_both(norms, status):
    pairs = []
    for name in ("self.input_layernorm", "self.post_attention_layernorm")[:norms]:
        line = "LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)"
        either = f"{line} if config.rms_norm_eps is not None else nn.LayerNorm(config.hidden_size)"
        pairs.append((f"{name} = {line}", f"{name} = {either}"))
    layer = next(site for site in port(varied(*pairs)).sites if site.kind == "layer")
    assert layer.status == status or (status == "left" and layer.status == "partly")


def test_another_class_of_that_name_closes_nothing():
    own = "\n\nclass LayerNorm(nn.Module):\n    def forward(self, x):\n        return x * torch.rsqrt(x)\n\n"
    own += "\nclass LlamaMLP"
    text = varied(
        ("LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)", "LayerNorm()"), ("\n\nclass LlamaMLP", own)
    )
    layer = next(site for site in port(text).sites if site.kind == "layer")
    assert layer.status == "left"


@pytest.mark.parametrize(
    ("model", "site"),
    [
        ("cohere2_moe", "Cohere2MoeDecoderLayer.forward"),
        ("gemma", "GemmaDecoderLayer.forward"),
        ("olmo2", "Olmo2DecoderLayer.forward"),
        ("starcoder2", "Starcoder2DecoderLayer.forward"),
    ],
)
def test_verdicts_on_sums_of_real_layers(model, site):
    ported = convert(source_of(model), name=model)
    assert isinstance(ported, Ported)
    found = next(each for each in ported.sites if each.name == site)
    assert found.status == "verdict" and found.reason


def test_strict_takes_verdicts():
    assert isinstance(convert(source_of("olmo2"), name="olmo2", strict=True), Ported)


def test_what_a_rule_on_demand_answers_is_no_need(status):
    demanded = ("two", 'Rule(edits=(Edit(site="attention.forward", answers=("other",)),), on_demand=True)', OTHER[2])
    assert status(PORTED, demanded) == ("ported", ("one",), "")


BESIDE = """def before_attn(p):
    x = first(p)


def after_attn(p):
    x = fast(p)


def before_layer(self, p):
    return self.attn(p)


def after_layer(self, p):
    return fast(self.attn(p))
"""


def test_an_edit_may_be_for_some_of_its_rules_needs(status):
    beside = 'Rule(edits=(Edit("attn", site="attention.forward", answers=("kernel", "qkv")), '
    beside += 'Edit("layer", site="layer.forward"{})))'
    one = ', answers=("kernel",)'
    unmatched = BESIDE.replace("first", "elsewhere")
    other = ("two", 'Rule(edits=(Edit(site="layer.forward", answers=("kernel",)),))', LAYER[2])
    assert status(("one", beside.format(""), unmatched), other, site="Layer.forward")[0] == "partly"
    assert status(("one", beside.format(one), unmatched), other, site="Layer.forward")[0] == "ported"

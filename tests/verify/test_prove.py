"""Proofs of rules: what passes, what fails and why, and what is never called proved."""

import textwrap

import pytest
import torch

from porter.diagnostics import Refused
from porter.verify.draw import Draw
from porter.verify.float64 import InFloat64
from porter.verify.prove import prove

HEAD = '"""A rule.\n\nWhy: a test.\n"""\nimport torch\nfrom porter.rule import Edit, Rule\n'

SILU = """
rule = Rule(edits=(Edit(site="function", unit="function"),))
def before(x):
    return x * torch.sigmoid(x)
def after(x):
    return {after}
def not_gelu(x):
    return torch.nn.functional.gelu(x)
def proof(draw):
    return dict(x=draw.normal(2, 7, 64))
"""

MERGED = """
rule = Rule(edits=(Edit("use", site="attention.forward", unit="expressions"),
                   Edit("init", site="attention.__init__", unit="statements")))
def before_use(self, x):
    self.a(x)
    self.b(x)
def after_use(self, x):
    a, b = self.ab(x).split(self.sizes, dim=-1)
    a
    b
def before_init(self, width):
    self.a = torch.nn.Linear(width, 6)
    self.b = torch.nn.Linear(width, 2)
def after_init(self, width):
    self.ab = torch.nn.Linear(width, 8)
def not_use_of_two_inputs(self, x, y):
    self.a(x)
    self.b(y)
def drawn(draw):
    return draw.linear(8, 6, bias=True), draw.linear(8, 2, bias=True), draw.normal(3, 8)
"""


@pytest.fixture
def rule(tmp_path):
    """Prove one rule file's text."""

    def prove_text(text, seeds=8):
        (tmp_path / "tried.py").write_text(HEAD + textwrap.dedent(text))
        (proof,) = prove((), tmp_path, seeds=seeds)
        return proof

    return prove_text


def test_same_algebra_passes_with_figures_in_each_dtype(rule):
    proof = rule(SILU.format(after="torch.nn.functional.silu(x)"))
    assert proof.passed and "24 draws" in proof.claim and "kernel: not run" in proof.claim
    assert proof.figures["bfloat16"]["after_ulp"] <= 0.51 < proof.figures["bfloat16"]["before_ulp"]
    assert proof.figures["bfloat16"]["differing"] > 0.05  # other roundings, and no worse
    assert proof.figures["negatives"] == 1


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ("x * torch.sigmoid(1.001 * x)", "times the limit"),
        ("x * torch.sigmoid(x) + 2e-5", "float32"),
        ("x * torch.sigmoid(x.bfloat16()).to(x.dtype)", "float32"),
        ("(x * torch.sigmoid(x)).float()", "torch.float32"),
        ("(x * torch.sigmoid(x))[:1]", "(1, 7, 64)"),
        ("x * torch.sigmoid(x) * torch.where(x == x.max(), float('nan'), 1.0).to(x.dtype)", "inf ulp"),
        ("x * missing(x)", "NameError"),
    ],
)
def test_another_algebra_fails_and_says_how(rule, after, said):
    proof = rule(SILU.format(after=after))
    assert proof.status == "failed" and not proof.passed
    assert said in proof.detail


def test_without_a_proof_a_rule_is_unproved(rule):
    proof = rule(SILU.format(after="torch.nn.functional.silu(x)").split("def proof")[0])
    assert proof.status == "unproved" and "`proof`" in proof.detail and not proof.passed


def test_without_negatives_a_rule_is_unproved(rule):
    text = SILU.format(after="torch.nn.functional.silu(x)").replace("def not_gelu", "def gelu")
    proof = rule(text)
    assert proof.status == "unproved" and "not_*" in proof.detail


def test_a_negative_that_holds_no_code_counts_for_nothing(rule):
    text = SILU.format(after="torch.nn.functional.silu(x)").replace("return torch.nn.functional.gelu(x)", "...")
    assert rule(text).status == "unproved"


def test_a_negative_that_matches_fails(rule):
    text = SILU.format(after="torch.nn.functional.silu(x)")
    proof = rule(text.replace("return torch.nn.functional.gelu(x)", "return x * torch.sigmoid(x)"))
    assert proof.status == "failed" and "matches `not_gelu`" in proof.detail


def test_every_variant_is_proved(rule):
    text = SILU.format(after="torch.nn.functional.silu(x)")
    proof = rule(text + "def before__other(x):\n    return torch.sigmoid(x) * x * 1.5\n")
    assert proof.status == "failed" and proof.detail.startswith("before__other")


def test_statements_compare_the_locals_both_assign_but_private_ones(rule):
    text = """
    rule = Rule(edits=(Edit(site="layer.forward", unit="statements", private={private}),))
    def before(self, x):
        inner = x.transpose(0, 1)
        ...
        out = inner.sum(0)
    def after(self, x):
        inner = x
        ...
        out = inner.sum(1)
    def not_mean(self, x):
        inner = x.transpose(0, 1)
        out = inner.mean(0)
    def proof(draw):
        return dict(self=draw.module(), x=draw.normal(3, 5))
    """
    assert rule(text.format(private='("inner",)')).passed
    assert "inner" in rule(text.format(private="()")).detail


def test_an_expression_is_proved_by_its_value_and_open_arguments_are_none(rule):
    text = """
    rule = Rule(edits=(Edit(site="*", unit="expression"),))
    def before(x):
        torch.sum(x * x, dim=..., **...)
    def after(x):
        x.square().sum()
    def not_mean(x):
        torch.mean(x * x)
    def proof(draw):
        return dict(x=draw.normal(9))
    """
    assert rule(text).passed


def test_sides_with_other_arguments_get_a_pair(rule):
    text = """
    rule = Rule(edits=(Edit(site="function", unit="function"),))
    def before(x, mask):
        return x.masked_fill(~mask, float("-inf")).softmax(-1)
    def after(x, mask):
        return x.masked_fill(mask, float("-inf")).softmax(-1)
    def not_unmasked(x, mask):
        return x.softmax(-1)
    def proof(draw):
        x, keep = draw.normal(4, 8), draw.bools(4, 8) | torch.eye(4, 8, dtype=torch.bool)
        return dict(x=x, mask=keep), dict(x=x, mask={after})
    """
    assert rule(text.format(after="~keep")).passed
    assert rule(text.format(after="keep")).status == "failed"


def test_several_edits_need_functions_that_run_the_rule(rule):
    assert "proof_before" in rule(MERGED).detail
    functions = """
def proof_before(draw):
    a, b, x = drawn(draw)
    return {before}
def proof_after(draw):
    a, b, x = drawn(draw)
    ab = lambda x: torch.cat((a(x), {second}(x)), -1)
    return {after}
"""
    used = {"before": "before_use(draw.module(a=a, b=b), x)", "after": "after_use(draw.module(ab=ab, sizes=[6, 2]), x)"}
    proof = rule(MERGED + functions.format(second="b", **used))
    assert proof.passed and set(proof.figures["not_run"]) == {"before_init", "after_init"}
    assert rule(MERGED + functions.format(second="-b", **used).replace("-b(x)", "(-b(x))")).status == "failed"
    sketch = rule(MERGED + functions.format(second="b", before="(a(x), b(x))", after="(a(x), b(x))"))
    assert sketch.status == "unproved" and "none of the rule's own functions" in sketch.detail


SHARED = """
import math
def given_gate(x):
    return torch.sigmoid(x) * math.cos(0)
def not_gate_alone(x):
    return gate(x)
"""


@pytest.fixture
def sharing(rule, tmp_path):
    """Prove a rule that takes its `given` and its `not` from a shared file's text."""

    def prove_shared(text):
        (tmp_path / "shared").mkdir(exist_ok=True)
        (tmp_path / "shared" / "gates.py").write_text(text)
        own = SILU.format(after="torch.nn.functional.silu(x)").replace("x * torch.sigmoid(x)", "x * gate(x)")
        return rule("from rules.shared.gates import given_gate, not_gate_alone\n" + own)

    return prove_shared


def test_what_a_rule_takes_from_a_shared_file_is_proved_with_it(sharing):
    proof = sharing(SHARED)
    assert proof.passed and proof.figures["negatives"] == 2
    assert sharing(SHARED.replace("sigmoid(x)", "sigmoid(1.1 * x)")).status == "failed"
    assert "matches `not_gate_alone`" in sharing(SHARED.replace("return gate(x)", "return x * gate(x)")).detail


def test_an_error_in_a_shared_file_has_its_place_there(sharing):
    assert "shared/gates.py:4" in sharing(SHARED.replace("math.cos(0)", "missing(x)")).detail


def test_writing_in_place_does_not_reach_the_other_side(rule):
    text = SILU.format(after="x.mul_(torch.sigmoid(x))")
    assert rule(text).passed


def test_broken_files_and_unknown_names_are_refused(tmp_path):
    (tmp_path / "some_rule.py").write_text(HEAD + SILU.format(after="torch.nn.functional.silu(x)"))
    refused = prove(("some_rul",), tmp_path)
    assert isinstance(refused, Refused) and "some_rule" in (refused.diagnostics[0].help or "")
    (tmp_path / "broken.py").write_text("def before(:\n")
    assert isinstance(prove((), tmp_path), Refused)


def test_draws_repeat_and_widen_the_rounded_values():
    draw = Draw(3, torch.bfloat16)
    first, again = draw.normal(50), draw.again().normal(50)
    assert first.dtype == torch.bfloat16 and torch.equal(first, again)
    wide = draw.in_float64()
    assert wide.dtype == torch.float64
    with InFloat64():
        assert torch.equal(wide.normal(50), first.double())
    assert not torch.equal(Draw(4, torch.bfloat16).normal(50), first)


def test_a_truth_widens_what_asks_for_float32_and_gives_the_default_back():
    def norm(x):
        wide = x.to(torch.float32)
        return (wide * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + torch.ones(1))).softmax(-1, torch.float32)

    x = torch.randn(3, 64)
    with InFloat64():
        found = norm(x.double())
    exact = x.double() * (x.double().square().mean(-1, keepdim=True) + 1).rsqrt()
    assert found.dtype == torch.float64 and (found - exact.softmax(-1)).abs().max() < 1e-15
    assert torch.get_default_dtype() == torch.float32 and norm(x).dtype == torch.float32


VERDICT = """
rule = Rule(edits=(Edit(site="mlp.forward", unit="statements"),))
def before(self, x):
    \"\"\"the fused form rounds more often\"\"\"
    y = self.act(x)
def not_other(self, x):
    y = self.other(x)
"""
INEXACT = """
def proof_before(draw):
    return _own(draw, lambda x: x * torch.sigmoid(x))
def proof_after(draw):
    return _own(draw, lambda x: {fused})
def _own(draw, act):
    return before(draw.module(act=act), draw.normal(2, 7))["y"]
"""


def test_a_verdict_is_shown_by_its_near_misses(rule):
    proof = rule(VERDICT)
    assert proof.passed and proof.claim.startswith("verdict: nothing is changed")
    assert rule(VERDICT.replace("self.other(x)", "self.act(x)")).status == "failed"


def test_a_verdict_on_exactness_fails_where_the_fused_form_is_exact(rule):
    inexact = rule(VERDICT + INEXACT.format(fused="x * torch.sigmoid(x.bfloat16()).to(x.dtype)"))
    assert inexact.passed and inexact.claim.startswith("verdict: the fused form is not exact")
    assert inexact.figures["float32"]["of_limit"] > 1
    exact = rule(VERDICT + INEXACT.format(fused="torch.nn.functional.silu(x)"))
    assert exact.status == "failed" and "is exact" in exact.detail

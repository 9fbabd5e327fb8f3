"""`porter rule` and `porter why`: one rule as a page, one site rule by rule."""

from __future__ import annotations

import json

from tests.own.conftest import MODEL, SITE


def test_a_rule_is_a_page(run, rules):
    code, out, _ = run("rule", "scaled_residual", "--rules", rules, "--source", MODEL)
    assert code == 0
    for said in (
        "Why:      five kernels become one.",
        "acme::scaled_sum, of ops/scaled_sum.py",
        "def before(self, x, residual):\n    x = (x + self.hidden_states_bias)",
        "torch.ops.acme.scaled_sum(",
        "not_without_a_shift  The op adds both.",
        "proof      run it: porter prove scaled_residual",
        f"modeling_zaya  {SITE}",
    ):
        assert said in out, out
    code, out, _ = run("rule", "scaled_residual", "--rules", rules, "--source", MODEL, "--json")
    page = json.loads(out)
    assert (page["why"], page["numerics"]) == ("five kernels become one.", "fp32 inside and one rounding.")
    assert page["contract"] == "acme::scaled_sum: fp16, bf16 or fp32." and page["ops"] == ["acme::scaled_sum"]
    assert page["sites"] == [{"source": "modeling_zaya", "site": SITE, "status": "ported"}]


def test_sites_are_looked_for_in_the_installed_models_within_bounds(run):
    code, out, err = run("rule", "xielu", "--json")
    page = json.loads(out)
    assert code == 0 and "looking for sites of xielu" in err
    assert {"source": "modeling_apertus", "site": "ApertusMLP.forward", "status": "ported"} in page["sites"]
    assert page["searched"]["sources"] <= min(24, page["searched"]["of"])


def test_a_rule_that_is_not_there_is_named(run):
    code, _, err = run("rule", "swiglo")
    assert code == 1 and "error[P042]" in err and "did you mean `swiglu`" in err
    assert run("rule", "swiglu", "--all", "--no-sites")[0] == 2


def test_a_site_is_told_rule_by_rule_with_both_texts(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = run("why", "transformers.models.falcon_h1", "FalconH1MLP.forward", "--json")
    told = json.loads(out)
    by_rule = {each["rule"]: each for each in told["by_rule"]}
    assert code == 0 and told["status"] == "left" and "swiglu" in by_rule and "attention" not in by_rule
    parts = by_rule["swiglu"]["parts"]
    assert parts["expected"] == "self.gate_proj(x)" and "self.gate_multiplier" in parts["found"]
    text = run("why", "transformers.models.falcon_h1", "FalconH1MLP")[1]
    (row,) = [line for line in text.split("\n") if line.startswith(f"> {parts['rule_line']} ") and "act_fn" in line][:1]
    left, bar, right = row.partition(" | ")
    assert "self.act_fn(self.gate_proj(x))" in left and bar and right.startswith("> ") and "self.up_proj(x)" in right
    assert "asks for `self.gate_proj(x)`, finds `self.gate_proj(x) * self.gate_multiplier`" in text


def test_a_site_that_is_taken_and_a_condition_that_does_not_hold_are_told(run):
    told = json.loads(run("why", "transformers.models.llama", "LlamaMLP", "--json")[1])
    by_rule = {each["rule"]: each for each in told["by_rule"]}
    assert told["by_rule"][0]["rule"] == "swiglu" and by_rule["swiglu"]["outcome"] == "takes"
    assert by_rule["geglu"]["outcome"] == "matches" and "'silu' by default" in by_rule["geglu"]["reason"]


def test_a_rule_of_ones_own_has_its_say(run, rules):
    told = json.loads(run("why", MODEL, SITE, "--rules", rules, "--json")[1])
    assert [(each["rule"], each["outcome"]) for each in told["by_rule"]] == [("scaled_residual", "takes")]
    file = rules / "scaled_residual.py"
    file.write_text(file.read_text().replace("self.residual_scale", "self.other_scale"))
    (fate,) = json.loads(run("why", MODEL, SITE, "--rules", rules, "--json")[1])["by_rule"]
    assert fate["outcome"] == "parts" and fate["parts"]["matched"] == 1


def test_a_site_that_is_not_there_is_named(run):
    code, _, err = run("why", MODEL, "ZayaQKNrm")
    assert code == 1 and "error[P041]" in err and "did you mean `ZayaQKNorm.forward`" in err

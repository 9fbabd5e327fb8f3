"""`porter new-rule`: what it writes loads, matches its site, has a proof and a near miss, and ports nothing yet."""

from __future__ import annotations

import json

import pytest

from porter.rulebook import RuleFolder, load_rules
from porter.shipped import shipped
from tests.engine.test_plan import MODEL

SITES = {
    "a method": ("zaya:ZayaQKNorm.forward", "zaya_qk_norm", "*.forward"),
    "a class alone": ("falcon_h1:FalconH1MLP", "falcon_h1_mlp", "mlp.forward"),
    "a function": ("llama:apply_rotary_pos_emb", "apply_rotary_pos_emb", "function"),
    "one with keywords of its own": ("llama:LlamaAttention.forward", "llama_attention", "attention.forward"),
    "one in a single line": ("inkling2:Inkling2Softcap.forward", "inkling2_softcap", "*.forward"),
}


@pytest.mark.parametrize(("site", "name", "kind"), SITES.values(), ids=SITES)
def test_it_is_a_rule_that_matches_its_site_and_ports_nothing_yet(run, tmp_path, site, name, kind):
    code, out, err = run("new-rule", "--from", f"transformers.models.{site}", "--out", "mine", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["rule"], told["file"]) == (name, f"mine/{name}.py")
    loaded = load_rules(shipped("rules"), beside=(RuleFolder(tmp_path / "mine"),))
    (rule,) = [each for each in loaded if each.name == name]
    assert rule.declared.edits[0].site == kind and set(rule.declared.supersedes) == set(told["supersedes"])
    assert [lack.message for lack in rule.lacks] == [f"rule `{name}` ports nothing: its `after` is its `before`"]
    source = f"transformers.models.{site.partition(':')[0]}"
    seen = json.loads(run("inspect", source, "--rules", "mine", "--json")[1])
    assert name in next(each["rules"] for each in seen["sites"] if each["site"] == told["site"])
    code, _, err = run("convert", source, "--rules", "mine")
    assert code == 1 and "error[P033]" in err and "its `after` is its `before`" in err


def test_its_proof_runs(run):
    assert run("new-rule", "--from", "transformers.models.falcon_h1:FalconH1MLP", "--out", "mine")[0] == 0
    code, out, _ = run("prove", "--rules", "mine", "--json")
    (proof,) = json.loads(out)["proofs"]
    assert code == 0 and proof["status"] == "passed" and proof["figures"]["negatives"] == 1


def test_nothing_is_written_over_and_what_is_not_there_is_named(run, tmp_path):
    asked = ("new-rule", "--from", "transformers.models.zaya:ZayaQKNorm.forward")
    assert run(*asked)[0] == 0 and (tmp_path / "rules" / "zaya_qk_norm.py").exists()
    code, _, err = run(*asked)
    assert code == 1 and "error[P036]: `rules/zaya_qk_norm.py` is there already" in err
    code, _, err = run("new-rule", "--from", "transformers.models.zaya:ZayaQKNrm.forward")
    assert code == 1 and "error[P041]" in err and "did you mean `ZayaQKNorm.forward`" in err
    assert run("new-rule", "--from", "transformers.models.zaya")[0] == 2


def test_what_no_rule_can_take_as_a_whole_is_refused_with_a_place(run, tmp_path):
    text = MODEL.replace("from fast_ops import *\n", "").replace(
        "(self, x):\n        return torch", "(self, *x):\n        return torch"
    )
    (tmp_path / "modeling_tiny.py").write_text(text)
    code, _, err = run("new-rule", "--from", "modeling_tiny.py:Norm.forward")
    assert code == 1 and "error[P036]: a rule of `Norm.forward` as a whole would not match it" in err
    assert "modeling_tiny.py:9:" in err and "expected `x`" in err and not (tmp_path / "rules").exists()
    assert run("new-rule", "--from", "modeling_tiny.py:Attention.forward")[0] == 0

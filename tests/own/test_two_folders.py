"""Several folders of rules at once: what they have under one name is refused, what each brings is proved and named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from porter.rulebook import RuleFolder, load_rules
from porter.shipped import shipped
from tests.engine.sources import text_of
from tests.own.conftest import MODEL, OPS

SAME = '''"""Spellings."""

import torch


def same_double(x):
    x + x
    x * 2


def same_acme_{name}(x):
    {first}
    {second}


def proof_same_acme_{name}(draw):
    return {{"x": draw.normal(3, 5)}}
'''


@pytest.fixture
def other(rules: Path) -> Path:
    """A second folder with the same files but for the rule's name."""
    folder = rules.with_name("other_rules")
    shutil.copytree(rules, folder)
    (folder / "scaled_residual.py").rename(folder / "scaled_other.py")
    return folder


def identities(folder: Path, name: str, first: str, second: str) -> None:
    (folder / "shared").mkdir()
    (folder / "shared" / "identities.py").write_text(SAME.format(name=name, first=first, second=second))


CLASHES = {
    "a file of one name": ("scaled_sum", OPS.replace("rounded once", "once rounded"), "a file `ops/scaled_sum.py`", 1),
    "a file of one name, other ops": ("scaled_sum", OPS.replace("acme::", "b::"), "a file `ops/scaled_sum.py`", 1),
    "an op of one name": ("sums", OPS.replace("left + right", "left - right"), "an op `acme::scaled_sum`", 22),
}


@pytest.mark.parametrize(("name", "text", "says", "line"), CLASHES.values(), ids=CLASHES)
@pytest.mark.parametrize("command", [("rules",), ("convert", MODEL, "--out", "ports/zaya"), ("prove",)])
def test_ops_of_one_name_with_other_text_are_one_error(run, rules, other, tmp_path, command, name, text, says, line):
    (other / "ops" / "scaled_sum.py").unlink()
    (other / "ops" / f"{name}.py").write_text(text)
    code, out, err = run(*command, "--rules", "acme_rules", "--rules", "other_rules")
    assert (code, out) == (1, "") and err.count("error[") == 1 and not (tmp_path / "ports").exists()
    assert f"error[P034]: there is {says} already, with other text" in err
    assert f"--> other_rules/ops/{name}.py:{line}:" in err and "acme_rules/ops/scaled_sum.py" in err


@pytest.mark.parametrize("name", ["scaled_sum", "sums"])
def test_the_same_text_twice_is_no_clash(rules, other, name):
    (other / "ops" / "scaled_sum.py").rename(other / "ops" / f"{name}.py")
    loaded = load_rules(shipped("rules"), beside=(RuleFolder(rules), RuleFolder(other)))
    assert isinstance(loaded, tuple), loaded


def test_two_rules_of_one_name_in_two_folders_are_one_error(run, rules, other):
    (other / "scaled_other.py").rename(other / "scaled_residual.py")
    code, _, err = run("rules", "--rules", rules, "--rules", other)
    assert code == 1 and "error[P032]: there are two rules `scaled_residual`" in err
    assert f"--> {other}/scaled_residual.py:1:1" in err


def test_the_identities_of_every_folder_are_proved(run, rules, other):
    """The first folder has as many as the second; either may be the wrong one. Porter's are proved once."""
    identities(rules, "one", "torch.neg(x)", "-x")
    identities(other, "two", "torch.abs(x)", "x.abs()")
    both = ("identities", "--rules", "acme_rules", "--rules", "other_rules", "--json")
    code, out, _ = run("prove", *both)
    (all_of,) = json.loads(out)["proofs"]
    alone = len(load_rules(shipped("rules"))[0].identities.spellings)
    assert code == 0 and f"of {alone + 4} values" in all_of["claim"]
    for folder, name, wrong in ((rules, "one", "x - x"), (other, "two", "x * x")):
        file = folder / "shared" / "identities.py"
        right = file.read_text()
        file.write_text(right.replace("-x\n" if name == "one" else "x.abs()", f"{wrong}\n"))
        code, out, _ = run("prove", *both)
        (proof,) = json.loads(out)["proofs"]
        assert code == 1 and proof["status"] == "failed"
        assert f"`same_acme_{name}`: line 13 of {folder.name}/shared/identities.py is not" in proof["detail"]
        file.write_text(right)


@pytest.mark.parametrize(
    ("old", "new"), [("import torch\n", "import acme_nowhere\n"), ("draw.normal(3, 5)", "draw.nothing")]
)
def test_identities_that_do_not_run_are_a_finding(run, rules, old, new):
    identities(rules, "one", "abs(x)", "x.abs()")
    file = rules / "shared" / "identities.py"
    file.write_text(file.read_text().replace(old, new))
    code, out, _ = run("prove", "identities", "--rules", rules, "--json")
    (proof,) = json.loads(out)["proofs"]
    assert code == 1 and proof["status"] == "failed" and "Error: " in proof["detail"]


def test_a_rule_is_another_where_its_own_identities_are(rules, other):
    def hashes() -> dict[str, str]:
        loaded = load_rules(shipped("rules"), beside=(RuleFolder(rules), RuleFolder(other)))
        assert isinstance(loaded, tuple), loaded
        return {rule.name: rule.sha256 for rule in loaded}

    plain = hashes()
    assert plain["scaled_residual"] == plain["scaled_other"]
    identities(rules, "one", "torch.neg(x)", "-x")
    with_one = hashes()
    file = rules / "shared" / "identities.py"
    file.write_text(file.read_text().replace("-x", "x.neg()"))
    changed = hashes()
    mine = [each.pop("scaled_residual") for each in (plain, with_one, changed)]
    assert len(set(mine)) == 3 and plain == with_one == changed
    alone = load_rules(shipped("rules"))
    assert isinstance(alone, tuple) and {rule.name: rule.sha256 for rule in alone}.items() <= plain.items()


def test_a_changed_identity_is_found_by_check(run, rules):
    identities(rules, "one", "torch.neg(x)", "-x")
    assert run("convert", MODEL, "--rules", rules, "--out", "ports/zaya")[0] == 0
    assert run("convert", MODEL, "--out", "ports/zaya", "--check")[0] == 0
    file = rules / "shared" / "identities.py"
    file.write_text(file.read_text().replace("-x", "x.neg()"))
    code, out, _ = run("convert", MODEL, "--out", "ports/zaya", "--check")
    assert code == 1 and "port.json" in out


SCALED = """

class Scaled(nn.Module):
    def forward(self, x, residual):
        x = (x + self.hidden_states_bias) * self.hidden_states_scale
        residual = (residual + self.residual_bias) * self.residual_scale
        return x + residual
"""


@pytest.mark.parametrize("takes", [False, True])
def test_only_ops_that_go_into_the_port_need_a_name_in_it(run, rules, tmp_path, takes):
    """The source has a file of the name that the ops would have; the rule with them takes something there, or not."""
    text = text_of("llama").replace("from ...", "from transformers.")
    text = text.replace("from .configuration_llama", "from transformers.models.llama.configuration_llama")
    (tmp_path / "code").mkdir()
    file = tmp_path / "code" / "llama.py"
    file.write_text(f"from .ops_scaled_sum import ONE\n{text}{SCALED if takes else ''}")
    (tmp_path / "code" / "ops_scaled_sum.py").write_text("ONE = 1\n")
    code, _, err = run("convert", file, "--rules", rules, "--out", "ports/mine")
    there = tmp_path / "ports" / "mine" / "ops_scaled_sum.py"
    if takes:
        assert code == 1 and "error[P143]: `ops_scaled_sum.py` would stand in the port twice" in err
        assert not there.exists()
    else:
        assert code == 0 and there.read_text() == "ONE = 1\n"

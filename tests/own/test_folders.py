"""Folders of rules beside porter's: where they are named, what is recorded, and each fault as one located error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from porter.diagnostics import Refused
from porter.rulebook import RuleFolder, load_rules, package_folders
from porter.shipped import shipped
from tests.own.conftest import MODEL, RULE, SITE

SHARED = '''"""Cases of scaled sums."""


def not_without_a_shift(self, x, residual):
    """The op adds both."""
    x = x * self.hidden_states_scale
    residual = (residual + self.residual_bias) * self.residual_scale
    return x + residual
'''


def site_of(out: str, site: str = SITE) -> dict:
    (found,) = [each for each in json.loads(out)["sites"] if each["site"] == site]
    return found


def test_no_shipped_rule_takes_the_site_and_a_rule_of_a_folder_does(run, rules):
    without = run("inspect", MODEL, "--json")
    assert site_of(without[1])["status"] == "left"
    code, out, _ = run("inspect", MODEL, "--rules", rules, "--json")
    assert code == 0 and site_of(out)["rules"] == ["scaled_residual"]


def test_rules_lists_them_with_where_they_are_from(run, rules):
    code, out, _ = run("rules", "--rules", rules, "--json")
    listed = {rule["rule"]: rule for rule in json.loads(out)["rules"]}
    assert code == 0 and listed["scaled_residual"]["from"] == str(rules) and listed["swiglu"]["from"] is None
    assert f"scaled_residual: of `{rules}`" in run("rules", "--rules", rules)[1]


def test_a_port_records_them_and_check_finds_them_again(run, rules, tmp_path):
    assert run("convert", MODEL, "--rules", "acme_rules", "--out", "ports/zaya")[0] == 0
    account = json.loads((tmp_path / "ports/zaya/port.json").read_text())
    (mine,) = [rule for rule in account["rules"] if rule["rule"] == "scaled_residual"]
    assert mine["from"] == "../../acme_rules" and len(mine["sha256"]) == 64
    assert account["options"]["rules"] == ["../../acme_rules"]
    assert account["regenerate"].endswith("--out generated_models/zaya --rules acme_rules")
    assert run("convert", MODEL, "--out", "ports/zaya", "--check")[0] == 0
    file = rules / "scaled_residual.py"
    file.write_text(file.read_text().replace("five kernels", "5 kernels"))
    code, out, _ = run("convert", MODEL, "--out", "ports/zaya", "--check")
    assert code == 1 and "port.json" in out
    shutil.rmtree(rules)
    code, _, err = run("convert", MODEL, "--out", "ports/zaya", "--check")
    assert code == 1 and "P031" in err and "ports/zaya/port.json:" in err


def test_a_project_names_them_and_its_folder_of_ports(run, rules, tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.porter]\nrules = ["acme_rules"]\nmodels = "npu"\nkeep = ["ZayaRMSNorm.forward", "Elsewhere.forward"]\n'
        'without = ["rotary_half"]\n'
    )
    code, _, err = run("convert", MODEL, "--name", "zaya")
    assert code == 0 and "Elsewhere.forward" in err
    account = json.loads((tmp_path / "npu/zaya/port.json").read_text())
    assert account["options"]["keep"] == ["ZayaRMSNorm.forward"] and account["options"]["without"] == ["rotary_half"]
    assert "scaled_residual" in [rule["rule"] for rule in account["rules"]]
    assert run("convert", MODEL, "--name", "zaya", "--check")[0] == 0


@pytest.mark.parametrize("command", [("verify", "--quick"), ("lower",)])
def test_a_name_is_looked_for_in_the_projects_folder_of_ports(run, tmp_path, command):
    """A port there that was changed by hand is found, and refused before it is executed."""
    (tmp_path / "pyproject.toml").write_text('[tool.porter]\nmodels = "npu"\n')
    assert run("convert", "transformers.models.llama", "--name", "mine")[0] == 0
    with (tmp_path / "npu" / "mine" / "modeling_llama.py").open("a") as file:
        file.write("# changed\n")
    found = run(*command, "npu/mine")
    assert found[0] == 1 and "error[P135]" in found[2]
    assert run(*command, "mine") == found
    (tmp_path / "mine").mkdir()  # a folder that is no port is not in the way
    assert run(*command, "mine") == found


@pytest.mark.parametrize("command", ["verify", "lower"])
@pytest.mark.parametrize("project", [None, '[tool.porter]\nmodels = "npu"\n'])
def test_a_name_of_nothing_says_which_are_near(run, tmp_path, command, project):
    if project is not None:
        (tmp_path / "pyproject.toml").write_text(project)
        assert run("convert", "transformers.models.llama", "--name", "llama2")[0] == 0
    code, out, err = run(command, "lama2")
    assert (code, out) == (1, "") and err.startswith("error[P080]: no ported model `lama2`\n")
    assert "did you mean `llama2`?" in err and (project is None or "looked in `npu`" in err)
    code, out, _ = run(command, "lama2", "--json")
    assert code == 1 and [each["code"] for each in json.loads(out)["diagnostics"]] == ["P080"]
    (tmp_path / "lama2").mkdir()
    assert "error[P072]" in run(command, "lama2")[2], "what is there is no port"
    for path in ("no/where", tmp_path / "nowhere"):
        assert "error[P080]: no folder `" in run(command, path)[2]


def test_a_name_in_a_project_that_cannot_be_read_is_one_error(run, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.porter]\nmodels = 3\n")
    code, _, err = run("verify", "mine")
    assert code == 1 and "error[P035]" in err and "--> pyproject.toml:2:" in err and err.count("error[") == 1


PROJECTS = {
    "no such field": ('rule = ["x"]', 2, "did you mean `rules`"),
    "no list": ('rules = "x"', 2, "not a list of texts"),
    "a folder that is not there": ('rules = ["nowhere"]', 2, "`nowhere` is not there"),
    "no toml": ("rules = [", 2, "cannot be read"),
}


@pytest.mark.parametrize(("line", "number", "says"), PROJECTS.values(), ids=PROJECTS)
def test_a_fault_of_the_project_is_one_error_with_its_line(run, tmp_path, line, number, says):
    (tmp_path / "pyproject.toml").write_text(f"[tool.porter]\n{line}\n")
    code, out, err = run("rules")
    assert (
        (code, out) == (1, "") and says in err and f"--> pyproject.toml:{number}:" in err and err.count("error[") == 1
    )


def test_a_package_brings_rules_by_an_entry_point(run, rules, tmp_path, monkeypatch):
    site = tmp_path / "site"
    shutil.copytree(rules, site / "acme_npu" / "rules")
    (site / "acme_npu" / "__init__.py").write_text("raise RuntimeError('nothing of it is imported')\n")
    made = site / "acme_npu-1.2.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-npu\nVersion: 1.2\n")
    (made / "entry_points.txt").write_text("[porter.rules]\nacme = acme_npu.rules\n")
    monkeypatch.syspath_prepend(str(site))
    assert run("convert", MODEL, "--out", "ports/zaya")[0] == 0
    account = json.loads((tmp_path / "ports/zaya/port.json").read_text())
    (mine,) = [rule for rule in account["rules"] if rule["rule"] == "scaled_residual"]
    assert mine["from"] == "package acme-npu 1.2" and "rules" not in account["options"]
    assert run("convert", MODEL, "--out", "ports/zaya", "--check")[0] == 0
    shutil.rmtree(site / "acme_npu")
    refused = package_folders()
    assert isinstance(refused, Refused) and "acme-npu 1.2" in refused.diagnostics[0].message


def test_a_folder_that_is_not_there_or_holds_no_rules(run, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "nowhere"):
        code, _, err = run("inspect", MODEL, "--rules", folder)
        assert code == 1 and "error[P031]" in err and f"`{folder}`" in err


def test_two_rules_of_one_name_are_one_error(run, rules):
    (rules / "swiglu.py").write_text(RULE)
    code, _, err = run("rules", "--rules", rules)
    assert code == 1 and "error[P032]: there are two rules `swiglu`" in err
    assert f"--> {rules / 'swiglu.py'}:1:1" in err and "rules/swiglu.py" in err


def test_a_damaged_rule_is_located_by_a_path_that_opens(run, rules):
    (rules / "scaled_residual.py").write_text(RULE.replace("def after", "def afterwards"))
    code, _, err = run("convert", MODEL, "--rules", "acme_rules")
    assert code == 1 and "error[P030]" in err and "--> acme_rules/scaled_residual.py:" in err
    assert "def before(self, x, residual):" in err  # the excerpt


def test_a_guard_of_nothing_is_located(run, rules):
    text = RULE.replace('unit="function"),))', 'unit="function"),), guards={"kind": ("silu",)})')
    (rules / "scaled_residual.py").write_text(text)
    code, _, err = run("convert", MODEL, "--rules", rules)
    assert code == 1 and "guards has `kind`, which no `before` takes" in err and "scaled_residual.py:12:" in err


def test_a_rule_takes_from_its_own_shared_files_and_from_porters(rules):
    (rules / "shared").mkdir()
    (rules / "shared" / "sums.py").write_text(SHARED)
    taken = "from rules.shared.sums import not_without_a_shift\nfrom rules.shared.rotary import given_rotate_half\n"
    start, end = RULE.index("def not_"), RULE.index("def proof")
    text = RULE[:start] + RULE[end:]
    (rules / "scaled_residual.py").write_text(text.replace("from porter.rule", f"{taken}from porter.rule"))
    loaded = load_rules(shipped("rules"), beside=(RuleFolder(rules),))
    assert not isinstance(loaded, Refused), loaded
    (mine,) = [rule for rule in loaded if rule.name == "scaled_residual"]
    assert [n.name for n in mine.code.negatives] == ["not_without_a_shift"] and "rotate_half" in mine.given
    assert not mine.lacks
    (rules / "shared" / "rotary.py").write_text(SHARED)
    refused = load_rules(shipped("rules"), beside=(RuleFolder(rules),))
    assert isinstance(refused, Refused) and "in this folder and in porter's" in refused.diagnostics[0].message


@pytest.mark.usefixtures("rules_of_the_disk")
def test_they_are_kept_and_read_again_when_they_or_what_they_share_change(rules, tmp_path, monkeypatch):
    import libcst

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def loaded() -> dict:
        found = load_rules(shipped("rules"), beside=(RuleFolder(rules),))
        assert not isinstance(found, Refused), found
        return {rule.name: rule for rule in found}

    first = loaded()
    with monkeypatch.context() as patched:
        patched.setattr(libcst, "parse_module", lambda text: pytest.fail("parsed again"))
        again = loaded()
    assert again == first and again["scaled_residual"].folder == RuleFolder(rules)
    assert again["scaled_residual"].ops == first["scaled_residual"].ops != ()
    op = rules / "ops" / "scaled_sum.py"
    op.write_text(op.read_text() + "\n# another line\n")
    assert loaded()["scaled_residual"].sha256 != first["scaled_residual"].sha256


def test_a_folder_named_twice_is_one(rules: Path):
    twice = (RuleFolder(rules), RuleFolder(rules / ".." / rules.name))
    assert not isinstance(load_rules(shipped("rules"), beside=twice), Refused)


def test_identities_of_ones_own_are_proved_with_the_folder(run, rules):
    (rules / "shared").mkdir()
    file = rules / "shared" / "identities.py"
    file.write_text(
        '"""Spellings of one value."""\n\n\ndef same_double(x):\n    x + x\n    x * 3\n\n\n'
        "def proof_same_double(draw):\n    return {'x': draw.normal(64)}\n"
    )
    code, out, _ = run("prove", "--rules", rules, "--json")
    status = {proof["name"]: proof["status"] for proof in json.loads(out)["proofs"]}
    assert code == 1 and status == {"identities": "failed", "scaled_residual": "passed"}


def test_rules_where_they_would_do_nothing_are_refused(run, rules):
    code, _, err = run("lower", Path(__file__).parents[2] / "generated_models" / "llama2", "--rules", rules)
    assert code == 2 and "--rules is for --by-rule" in err


def test_a_row_of_the_matrix_goes_by_them_and_is_found_again_without(run, rules, tmp_path):
    asked = ("matrix", "--models", "zaya", "--level", "port", "--json", "rows.json", "--jobs", 1)

    def of_unknown_classes() -> dict[str, int]:
        rows = json.loads((tmp_path / "rows.json").read_text())
        (row,) = [row for row in rows["rows"] if row["model"] == "zaya"]
        return row["sites"]["unknown"]

    assert run(*asked, "--rules", rules)[0] == 0 and of_unknown_classes() == {"left": 1, "ported": 1}
    assert run(*asked)[0] == 0 and of_unknown_classes() == {"left": 2}

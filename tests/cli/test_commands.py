"""What each command prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import sys
import types
from importlib.metadata import version
from pathlib import Path

import pytest

from porter.diagnostics import Diagnostic, Refused
from porter.verify.finding import Check

LLAMA = "transformers.models.llama"


def _fake_module(monkeypatch: pytest.MonkeyPatch, name: str, **members: object) -> None:
    module = types.ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def port(porter_here, tmp_path: Path) -> Path:
    out = tmp_path / "ports" / "llama2"
    assert porter_here("convert", LLAMA, "--out", out).code == 0
    return out


# --- convert


def test_convert_lists_every_site(porter_here, tmp_path):
    done = porter_here("convert", LLAMA, "--out", tmp_path / "llama2", "--verbose")
    assert (done.code, done.err) == (0, "")
    head, *lines = done.out.split("\n")
    assert head.startswith(f"{LLAMA}.modeling_llama (transformers {version('transformers')})")
    assert head.endswith(f" -> {tmp_path / 'llama2'}")
    account = json.loads((tmp_path / "llama2" / "port.json").read_text())
    for site in account["sites"]:
        assert any(line.startswith(f"{site['site']} ") for line in lines)
    assert f"wrote {', '.join(sorted(os.listdir(tmp_path / 'llama2')))}" in lines


def test_convert_sums_up_what_is_done_and_lists_what_is_left(porter_here, tmp_path):
    out = porter_here("convert", LLAMA, "--out", tmp_path / "llama2").out
    assert "LlamaMLP.forward" not in out and "\n7 sites: 7 ported, " in out
    account = json.loads((tmp_path / "llama2" / "port.json").read_text())
    assert f"\nrules: {', '.join(rule['rule'] for rule in account['rules'])}\n" in out
    out = porter_here("convert", "transformers.models.mamba", "--out", tmp_path / "mamba").out
    sites = json.loads((tmp_path / "mamba" / "port.json").read_text())["sites"]
    listed = [line.split()[0] for line in out.split("\n") if "- left" in line]
    assert listed == [site["site"] for site in sites if site["status"] == "left"] and listed


def test_convert_as_json_is_one_document(porter_here, tmp_path):
    done = porter_here("convert", LLAMA, "--out", tmp_path / "llama2", "--json")
    document = json.loads(done.out)
    assert (done.code, done.err, document["ok"], document["diagnostics"]) == (0, "", True, [])
    assert (document["name"], document["class"], document["registered"]) == ("llama2", "LlamaForCausalLM", True)
    assert document["folder"] == str(tmp_path / "llama2")


@pytest.mark.parametrize(
    ("words", "folder"),
    [((), "generated_models/llama"), (("--name", "mine"), "generated_models/mine"), (("--out", "x/y"), "x/y")],
    ids=["neither", "a name", "a folder"],
)
def test_name_and_folder_say_each_other(porter_here, tmp_path, monkeypatch, words, folder):
    monkeypatch.chdir(tmp_path)
    assert porter_here("convert", LLAMA, *words).code == 0
    account = json.loads((tmp_path / folder / "port.json").read_text())
    assert account["name"] == folder.split("/")[-1]


def test_a_name_unlike_its_folder_is_not_registered_and_says_so(porter_here, tmp_path):
    done = porter_here("convert", LLAMA, "--out", tmp_path / "x" / "y", "--name", "z")
    assert done.code == 0
    assert done.err.startswith("note: not registered")
    assert not (tmp_path / "x" / "__init__.py").exists()


def test_a_link_to_a_port_does_not_rename_it(porter_here, tmp_path):
    place, link = tmp_path / "models" / "llama2", tmp_path / "link"
    assert porter_here("convert", LLAMA, "--out", place).code == 0
    before = (place / "port.json").read_text(), (tmp_path / "models" / "__init__.py").read_text()
    link.symlink_to(place)
    done = porter_here("convert", LLAMA, "--out", link, "--force")
    assert (done.code, done.err) == (0, "")
    assert before == ((place / "port.json").read_text(), (tmp_path / "models" / "__init__.py").read_text())


@pytest.mark.parametrize("name", ["llama-2", "2llama", "class", "a.b", "../x"])
def test_a_name_is_an_identifier(porter_here, tmp_path, name):
    done = porter_here("convert", LLAMA, "--out", tmp_path / "x", "--name", name)
    assert done.code == 2
    assert "--name" in done.err
    assert not (tmp_path / "x").exists()


def test_a_refused_source_is_one_located_message(porter_here, tmp_path):
    (tmp_path / "modeling_x.py").write_text("def broken(:\n    pass\n")
    done = porter_here("convert", tmp_path, "--out", tmp_path / "out")
    assert (done.code, done.out) == (1, "")
    assert "modeling_x.py:1:12\n  |\n1 | def broken(:\n  |            ^" in done.err
    assert done.err.count("error[") == 1
    assert not (tmp_path / "out").exists()


def test_a_refusal_as_json(porter_here, tmp_path):
    done = porter_here("convert", "transformers.models.lama", "--out", tmp_path / "out", "--json")
    document = json.loads(done.out)
    assert (done.code, done.err, document["ok"]) == (1, "", False)
    assert document["diagnostics"][0]["code"] == "P001"


def test_a_folder_that_exists(porter_here, port):
    before = {path.name: path.read_bytes() for path in port.iterdir()}
    done = porter_here("convert", LLAMA, "--out", port)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error[P010]: the folder `{port}` exists already\n")
    assert porter_here("convert", LLAMA, "--out", port, "--force").code == 0
    assert {path.name: path.read_bytes() for path in port.iterdir()} == before


def test_check(porter_here, port):
    assert porter_here("convert", LLAMA, "--out", port, "--check").out == f"{port} is what converting again gives\n"
    path = port / "modeling_llama.py"
    path.write_text(path.read_text().replace("import torch\n", "import torch  # mine\n", 1))
    done = porter_here("convert", LLAMA, "--out", port, "--check")
    line = path.read_text().split("\n").index("import torch  # mine") + 1
    assert done.code == 1
    assert done.out == (f"{path}:{line}: differs\n    there:    import torch  # mine\n    expected: import torch\n")
    document = json.loads(porter_here("convert", LLAMA, "--out", port, "--check", "--json").out)
    assert not document["ok"]
    assert [difference["file"] for difference in document["differences"]] == ["modeling_llama.py"]


def test_check_and_force_exclude_each_other(porter_here):
    assert porter_here("convert", LLAMA, "--check", "--force").code == 2


@pytest.mark.parametrize("words", [("--keep", "LlamaRMSNrom.forward"), ("--without", "swigul")])
def test_an_option_that_names_nothing_is_refused(porter_here, tmp_path, words):
    done = porter_here("convert", LLAMA, "--out", tmp_path / "x", *words)
    assert done.code == 1
    assert "did you mean" in done.err
    assert not (tmp_path / "x").exists()


def test_a_kept_site_is_recorded(porter_here, tmp_path):
    done = porter_here("convert", LLAMA, "--out", tmp_path / "x", "--keep", "LlamaMLP.forward", "-v")
    assert done.code == 0
    (line,) = [line for line in done.out.split("\n") if line.startswith("LlamaMLP.forward")]
    assert "- kept" in line
    assert json.loads((tmp_path / "x" / "port.json").read_text())["options"]["keep"] == ["LlamaMLP.forward"]
    assert "--keep LlamaMLP.forward" in (tmp_path / "x" / "modeling_llama.py").read_text()


# --- inspect, rules


def test_inspect_writes_nothing(porter_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = porter_here("inspect", LLAMA)
    assert (done.code, done.err) == (0, "")
    assert "entry point: LlamaForCausalLM\n" in done.out
    assert "LlamaRMSNorm.forward" in done.out
    assert not list(tmp_path.iterdir())


def test_inspect_says_why(porter_here):
    document = json.loads(porter_here("inspect", "transformers.models.doge", "--json").out)
    left, partly = ([s["site"] for s in document["sites"] if s["status"] == kind] for kind in ("left", "partly"))
    assert left and partly
    messages = {miss["message"] for miss in document["misses"]}
    assert {f"no rule matches `{site}`" for site in left} <= messages
    assert len(messages) == len(left) + len(partly)
    text = porter_here("inspect", "transformers.models.doge", "--why").out
    for site in left:
        assert f"error[P102]: no rule matches `{site}`\n" in text
    for site in partly:
        assert f"error[P102]: `{site}` is ported in part: not by `" in text


def test_rules(porter_here):
    text = porter_here("rules").out
    document = json.loads(porter_here("rules", "--json").out)
    names = [rule["rule"] for rule in document["rules"]]
    assert names == [line.split()[0] for line in text.strip().split("\n")[1:]]
    assert all(rule["summary"] and len(rule["sha256"]) == 64 for rule in document["rules"])


# --- prove, verify: the work itself has its own tests


def test_proofs(porter_here, monkeypatch):
    import porter.verify.prove as engine

    figures = {"bfloat16": {"before_ulp": 1.3, "after_ulp": 0.5, "of_limit": 0.4, "differing": 0.1}, "draws": 64}
    norm = engine.Proof("norm", "passed", figures, "", "algebra proved; kernel: not run")
    bare = engine.Proof("bare", "unproved", {}, "no `proof`\nno `not_*` case", "algebra unproved; kernel: not run")

    def prove(names, rules, progress):
        progress("norm", 0, 1)
        progress("", 1, 1)
        return (norm,) if names else (norm, bare)

    monkeypatch.setattr(engine, "prove", prove)
    done = porter_here("prove", "norm_rms")
    assert (done.code, done.err) == (0, "proving: norm, 1 of 1\n")
    assert done.out == (
        "dtype     largest error: after / before, ulp  rule\n"
        "bfloat16  0.50 / 1.30                         norm\n"
        "\n1 passed\nalgebra proved; kernel: not run\n"
    )
    assert porter_here("prove", "norm_rms", "-v").out == (
        "        rule  float32: after / before, ulp  bfloat16: after / before, ulp  float16: after / before, ulp\n"
        "passed  norm  -                             0.50 / 1.30                    -\n"
        "\n1 passed\nalgebra proved; kernel: not run\n"
    )
    for words in ((), ("-v",)):
        done = porter_here("prove", *words)
        assert done.code == 1, "what brings no proof is not proved"
        assert "\n\n1 passed, 1 unproved\n" in done.out
        assert done.out.endswith("\n\nunproved: bare\n    no `proof`\n    no `not_*` case\n")
    document = json.loads(porter_here("prove", "--json").out)
    assert not document["ok"]
    assert [proof["status"] for proof in document["proofs"]] == ["passed", "unproved"]


CHECKS = (
    Check("logits", "base", "passed", 3e-7, 1e-5, "of the scale"),
    Check("window", "base", "not applicable", detail="no layer has one"),
)
WRONG = Check("tokens", "biases", "failed", 2.0, 0.0, "tokens differ", "first at [0, 3]")


@pytest.mark.parametrize(("checks", "code"), [(CHECKS, 0), ((*CHECKS, WRONG), 1)], ids=["none fails", "one fails"])
def test_verify(porter_here, port, monkeypatch, checks, code):
    _fake_module(monkeypatch, "porter.verify.parity", verify=lambda directory, **options: checks)
    done = porter_here("verify", port)
    assert done.code == code
    summed = [" ".join(line.split()) for line in done.out.split("\n")]
    nearest = "logits: 3e-07 of the scale, limit 1e-05"
    expected = [f"base 1 - 1 {nearest}", "biases - 1 - -"] if code else [f"base 1 1 {nearest}"]
    assert summed[1 : 1 + len(expected)] == expected and "kernel: not run" in summed
    rows = porter_here("verify", port, "-v")
    assert "passed          base" in rows.out and "window  no layer has one\n" in rows.out
    failure = "failed: biases, tokens: 2 tokens differ\n    first at [0, 3]\n"
    for text in (done.out, rows.out):
        assert text.endswith(failure if code else "kernel: not run\n")
    document = json.loads(porter_here("verify", port, "--json").out)
    assert (document["ok"], len(document["checks"])) == (not code, len(checks))


def test_a_check_that_cannot_begin(porter_here, port, monkeypatch):
    refused = Refused((Diagnostic("P9", "no"),))
    _fake_module(monkeypatch, "porter.verify.parity", verify=lambda directory, **options: refused)
    done = porter_here("verify", port)
    assert (done.code, done.out, done.err) == (1, "", "error[P9]: no\n")


def test_a_rule_that_is_not_there_is_found_before_torch_is_loaded(porter_process):
    done = porter_process("prove", "swigul")
    assert (done.code, done.out) == (1, "")
    assert done.err == "error[P042]: no rule `swigul`\n  = help: did you mean `swiglu`?\n"


def test_verify_wants_a_port(porter_here, tmp_path):
    done = porter_here("verify", tmp_path)
    assert done.code == 1
    assert done.err.startswith(f"error[P072]: `{tmp_path}/port.json` is not the account of a port\n")

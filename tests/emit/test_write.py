"""Writing: what may be replaced, the registry, and the comparison with what is there."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from porter.diagnostics import Refused
from porter.emit import Difference, Written, check, emit
from porter.emit.account import read_account
from porter.emit.templated import REGISTRY_FIRST_LINE
from porter.report.diagnostic import render
from porter.runtime.registry import registered


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _refusal(outcome: object) -> str:
    assert isinstance(outcome, Refused)
    return render(outcome.diagnostics[0])


# --- what is written


def test_a_new_folder_and_its_registry(ported, out):
    outcome = emit(ported, out)
    files = ("__init__.py", "modeling_tiny.py", "port.diff", "port.json", "run_tiny2.py")
    assert outcome == Written(out, files, out.parent / "__init__.py", False)
    assert sorted(_snapshot(out.parent)) == ["__init__.py", *(f"tiny2/{name}" for name in files)]


def test_the_registry_is_two_literals(ported, written):
    emit(replace(ported, name="a_first", split_points=None), written.with_name("a_first"))
    assert (written.parent / "__init__.py").read_text() == (
        '"""The ported models of this folder. Written by porter from their port.json files: do not edit.\n'
        "\n"
        "Two tables in the shape launchers know. They are plain literals: reading them imports no model.\n"
        '"""\n'
        "\n"
        "# name: (module, class)\n"
        "_MODELS = {\n"
        '    "a_first": ("modeling_tiny", "TinyForCausalLM"),\n'
        '    "tiny2": ("modeling_tiny", "TinyForCausalLM"),\n'
        "}\n"
        "\n"
        "# name: (module, layer class, outputs to sum over ranks)\n"
        "_MODEL_INJECTION_POLICY = {\n"
        '    "tiny2": ("modeling_tiny", "TinyLayer", ("mlp.down",)),\n'
        "}\n"
    )


def test_the_registry_can_be_imported(written):
    spec = importlib.util.spec_from_file_location("made_up", written.parent / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module._MODELS == {"tiny2": ("modeling_tiny", "TinyForCausalLM")}


def test_a_removed_port_leaves_the_registry(ported, written):
    emit(replace(ported, name="next"), written.with_name("next"))
    for path in written.iterdir():
        path.unlink()
    written.rmdir()
    emit(replace(ported, name="next"), written.with_name("next"), force=True)
    assert "tiny2" not in (written.parent / "__init__.py").read_text()


def test_a_port_under_another_folders_name_is_not_registered(ported, out):
    outcome = emit(ported, out.with_name("elsewhere"))
    assert isinstance(outcome, Written) and outcome.registry is None
    assert not (out.parent / "__init__.py").exists()


# --- what may be replaced


def test_a_folder_that_exists(ported, written):
    before = _snapshot(written.parent)
    assert _refusal(emit(ported, written)) == (
        f"error[P010]: the folder `{written}` exists already\n"
        "  = help: use `--force` to replace it, or give another `--out`"
    )
    assert _snapshot(written.parent) == before


def test_force_replaces_a_port(other, written):
    (written / "__pycache__").mkdir()
    (written / "__pycache__" / "x.pyc").write_bytes(b"")
    outcome = emit(other, written, force=True)
    assert isinstance(outcome, Written) and outcome.replaced
    assert "up_gate" in (written / "modeling_tiny.py").read_text()
    assert not (written / "__pycache__").exists()


def test_force_takes_an_empty_folder(ported, out):
    out.mkdir(parents=True)
    assert isinstance(emit(ported, out, force=True), Written)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"thesis.tex": "x"}, "no port.json in it"),
        ({"port.json": "{}"}, "no port.json of a port in it"),
        ({"port.json": "]"}, "no port.json of a port in it"),
    ],
    ids=["somebody's work", "an empty account", "no account"],
)
def test_force_does_not_replace_what_is_no_port(ported, out, files, reason):
    out.mkdir(parents=True)
    for name, text in files.items():
        (out / name).write_text(text)
    before = _snapshot(out)
    refusal = _refusal(emit(ported, out, force=True))
    assert refusal.startswith(f"error[P071]: the folder `{out}` is not a port: it is not replaced\n  = {reason}\n")
    assert _snapshot(out) == before


def test_force_does_not_lose_what_somebody_put_there(ported, written):
    (written / "notes.md").write_text("mine")
    assert "  = porter did not write `notes.md`\n" in _refusal(emit(ported, written, force=True))
    assert (written / "notes.md").read_text() == "mine"


@pytest.mark.parametrize("force", [False, True])
def test_a_file_in_the_place(ported, out, force):
    out.parent.mkdir()
    out.write_text("mine")
    assert _refusal(emit(ported, out, force=force)).startswith(f"error[P071]: `{out}` is not a folder")
    assert out.read_text() == "mine"


def test_a_link_is_followed(ported, written, other, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(written)
    emit(other, link, force=True)
    assert link.is_symlink()
    assert "up_gate" in (written / "modeling_tiny.py").read_text()


def test_a_package_that_is_no_registry_is_not_touched(ported, out):
    out.parent.mkdir()
    (out.parent / "__init__.py").write_text("import something\n")
    assert _refusal(emit(ported, out)).startswith(f"error[P073]: `{out.parent}/__init__.py` was not written by porter")
    assert sorted(_snapshot(out.parent)) == ["__init__.py"]


DAMAGED = {
    "no JSON": b"{",
    "no object": b"[]",
    "binary": bytes(range(256)),
    "empty": b"",
    "deep": b"[" * 100_000,
    "a huge number": b'{"format": ' + b"9" * 10_000 + b"}",
    "another format": b'{"format": 2}',
    "no format": b"{}",
    "true for a number": b'{"format": true}',
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_neighbour_is_named_and_stands_in_nobodys_way(ported, written, data):
    (written / "port.json").write_bytes(data)
    outcome = emit(replace(ported, name="next"), written.with_name("next"))
    assert isinstance(outcome, Written) and outcome.registry == written.parent / "__init__.py"
    (warning,) = outcome.warnings
    assert render(warning).startswith(f"warning[P072]: `{written}/port.json` is not the account of a port\n")
    assert registered(written.parent) == ("next",)
    assert (written / "port.json").read_bytes() == data


MISSHAPEN = {
    "name": [None, 5, "", "a b", "../x", "class", ["x"]],
    "module": [None, "a.b", "x/y", 1],
    "class": [None, "A B", {}],
    "source": [None, [], "llama", {}, {"sha256": 1}, {"sha256": "", "module": 5}, {"sha256": "", "module": "a..b"},
               {"sha256": "", "path": 1}, {"sha256": "", "siblings": 7}, {"sha256": "", "siblings": [1]},
               {"sha256": "", "siblings": [{"file": "../x.py", "sha256": ""}]}],
    "files": [None, [], {"a": 1}, {"../x": ""}, {"": ""}],
    "options": [5, "x", {"keep": 5}, {"keep": [5]}, {"without": "x"}, {"strict": 1}, {"trust_remote_code": "yes"}],
    "rules": [5, [5], [{}], {"rule": "x"}],
    "split_points": [5, "x", [], {}, {"layer_class": "X"}, {"layer_class": "X", "row_parallel": 5},
                     {"layer_class": "X", "row_parallel": [5]}],
}  # fmt: skip


@pytest.mark.parametrize(("entry", "value"), [(entry, value) for entry in MISSHAPEN for value in MISSHAPEN[entry]])
def test_an_entry_of_the_wrong_kind_is_named(ported, written, entry, value):
    account = json.loads((written / "port.json").read_text())
    (written / "port.json").write_text(json.dumps({**account, entry: value}))
    refusal = _refusal(read_account(written))
    assert f"`{entry}" in refusal.split("\n")[1], refusal
    assert isinstance(emit(replace(ported, name="next"), written.with_name("next")), Written)
    assert registered(written.parent) == ("next",) or entry == "name"
    assert check(replace(ported, name="next"), written.with_name("next")) == []


def test_an_account_that_is_a_pipe_is_not_waited_for(ported, written):
    (written / "port.json").unlink()
    os.mkfifo(written / "port.json")
    assert "no regular file" in _refusal(read_account(written))
    assert isinstance(emit(replace(ported, name="next"), written.with_name("next")), Written)


# --- check


def test_check_of_what_was_just_written(ported, written):
    assert check(ported, written) == []


def test_check_names_file_and_line(ported, written):
    path = written / "modeling_tiny.py"
    path.write_text(path.read_text().replace("npu_rms_norm", "npu_rms_nrom"))
    (written / "run_tiny2.py").unlink()
    (written / "extra.py").write_text("")
    (written.parent / "__init__.py").write_text("")
    line = "        return torch_npu.npu_rms_{}(x, self.weight)[0]"
    assert check(ported, written) == [
        Difference("modeling_tiny.py", "differs", 20, line.format("nrom"), line.format("norm")),
        Difference("run_tiny2.py", "missing"),
        Difference("extra.py", "not from porter"),
        Difference("../__init__.py", "differs", 1, "", REGISTRY_FIRST_LINE),
    ]


def test_check_sees_a_missing_last_line(ported, written):
    path = written / "port.diff"
    text = path.read_text()
    path.write_text(text.rstrip("\n"))
    (difference,) = check(ported, written)  # type: ignore[misc]
    assert (difference.line, difference.there, difference.expected) == (text.count("\n") + 1, None, "")


def test_check_of_nothing(ported, out):
    differences = check(ported, out)
    assert isinstance(differences, list)
    assert {difference.problem for difference in differences} == {"missing"}
    assert not out.parent.exists()

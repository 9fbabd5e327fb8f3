"""The files of a port's folder, as a reviewer opens them."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import libcst
import pytest

from porter.emit import render_port
from porter.emit.templated import literal
from porter.rewrite import Ported
from porter.rewrite.exports import exported_names
from porter.source import Companion
from tests.emit.conftest import PLACE


def _text(ported: Ported, name: str) -> str:
    return render_port(ported, PLACE).files[name].decode()


def test_the_folder(ported):
    assert sorted(render_port(ported, PLACE).files) == [
        "__init__.py",
        "modeling_tiny.py",
        "port.diff",
        "port.json",
        "run_tiny2.py",
    ]


def test_the_header_stands_under_the_licence_notice(ported):
    assert _text(ported, "modeling_tiny.py") == (
        "# Copyright 2023 Somebody.\n"
        "# Licensed under the Apache License, Version 2.0.\n"
        "#\n"
        "# Ported to Ascend NPU by porter 0.1.0. Do not edit: change a rule, or keep a site, and convert again.\n"
        "#\n"
        "#   from:       lib.models.tiny.modeling_tiny (lib 1.2.3)\n"
        f"#   sha256:     {'ab' * 32}\n"
        "#   rules:      norm, swiglu\n"
        "#   regenerate: porter convert lib.models.tiny.modeling_tiny --out generated_models/tiny2\n"
        "#\n"
        "# What every rule changed is in port.diff, what no rule took in port.json.\n"
        "\n" + "\n".join(ported.code.split("\n")[2:])
    )


def test_a_source_without_a_notice(ported):
    text = _text(replace(ported, code="import torch\n"), "modeling_tiny.py")
    assert text.startswith("# Ported to Ascend NPU by porter")
    assert text.endswith("port.json.\n\nimport torch\n")


def test_many_rules_wrap(ported):
    rules = tuple((f"a_rather_long_rule_{number}", "0") for number in range(9))
    header = [line for line in _text(replace(ported, rules=rules), "modeling_tiny.py").split("\n") if "_rule_" in line]
    assert len(header) == 3
    assert all(len(line) <= 120 and line.startswith("#   ") for line in header)


def test_line_ends_of_the_source_are_kept(ported):
    text = _text(replace(ported, code=ported.code.replace("\n", "\r\n")), "modeling_tiny.py")
    assert text.count("\n") == text.count("\r\n")


def test_every_option_is_in_the_command(ported):
    options = {"keep": ["A.forward", "B"], "without": ["norm"], "strict": True}
    assert (
        "porter convert lib.models.tiny.modeling_tiny --out generated_models/tiny2"
        " --keep A.forward --keep B --without norm --strict\n"
    ) in _text(replace(ported, options=options), "modeling_tiny.py")


def test_a_file_source_names_no_machine(ported):
    source = replace(ported.source, module=None, package=None, version=None)
    for data in render_port(replace(ported, source=source), PLACE).files.values():
        assert b"/anywhere" not in data
    text = _text(replace(ported, source=source), "modeling_tiny.py")
    assert "#   from:       tiny/modeling_tiny.py\n" in text
    assert "#   regenerate: porter convert tiny/modeling_tiny.py --out generated_models/tiny2\n" in text


def test_a_file_source_is_recorded_as_seen_from_the_port(ported):
    source = replace(ported.source, module=None, package=None, version=None)
    account = render_port(replace(ported, source=source), PLACE).account
    assert account["source"]["path"] == "../../tiny/modeling_tiny.py"
    elsewhere = replace(source, path=Path("/moved/tiny/modeling_tiny.py"))
    moved = render_port(replace(ported, source=elsewhere), Path("/moved/generated_models/tiny2"))
    assert moved.files == render_port(replace(ported, source=source), PLACE).files
    assert "path" not in render_port(ported, PLACE).account["source"]


def test_an_evil_path_stays_in_the_comment(ported):
    evil = "x\nimport os\r#/modeling_tiny.py"
    source = replace(ported.source, module=None, display=evil, path=PLACE.parents[1] / evil)
    text = _text(replace(ported, source=source), "modeling_tiny.py")
    imports = [node.names[0].name for node in ast.parse(text).body if isinstance(node, ast.Import)]
    assert imports == ["torch", "torch_npu"]


def test_the_package_exports_what_the_source_does_and_the_port_has(ported):
    assert exported_names(libcst.parse_module(ported.code)) == ported.exports
    assert _text(ported, "__init__.py") == (
        '"""TinyForCausalLM, ported to Ascend NPU by porter. Where it came from and what changed:'
        ' port.json, port.diff."""\n\n'
        "import porter.runtime  # before the model: it refuses a transformers that porter was not tested with\n\n"
        "from .modeling_tiny import (\n    TinyForCausalLM,\n    TinyNorm,\n)\n\n"
        '__all__ = [\n    "TinyForCausalLM",\n    "TinyNorm",\n]\n'
    )


def test_without_all_the_public_classes_are_exported(ported):
    exports = exported_names(libcst.parse_module("class A: ...\nclass _B: ...\ndef f(): ...\n"))
    assert '__all__ = [\n    "A",\n]' in _text(replace(ported, exports=exports), "__init__.py")


def test_files_that_the_source_imports_come_along(ported):
    part = Companion("parts.py", Path("/x/parts.py"), "x = 'é'\n", "cd" * 32)
    rendered = render_port(replace(ported, source=replace(ported.source, siblings=(part,))), PLACE)
    assert rendered.files["parts.py"] == "x = 'é'\n".encode()
    assert rendered.account["source"]["siblings"] == [{"file": "parts.py", "sha256": "cd" * 32}]


def test_a_file_not_named_modeling_gets_the_name(ported):
    source = replace(ported.source, path=Path("/x/net.py"))
    assert "modeling_net.py" in render_port(replace(ported, source=source), PLACE).files


def test_the_account(ported):
    account = json.loads(_text(ported, "port.json"))
    assert account["source"]["sha256"] == "ab" * 32
    assert account["class"] == "TinyForCausalLM"
    assert account["regenerate"] == "porter convert lib.models.tiny.modeling_tiny --out generated_models/tiny2"
    assert account["rules"] == [{"rule": "norm", "sha256": "11" * 32}, {"rule": "swiglu", "sha256": "22" * 32}]
    assert account["sites"][0] == {
        "site": "TinyNorm.forward",
        "kind": "norm",
        "line": 8,
        "status": "ported",
        "rules": ["norm"],
        "changed_lines": [[9, 10]],
        "reason": None,
    }
    assert account["sites"][2]["reason"] == "no rule speaks of this kind of site"
    assert account["split_points"]["row_parallel"] == ["mlp.down"]
    assert sorted(account["files"]) == ["__init__.py", "modeling_tiny.py", "port.diff", "run_tiny2.py"]


def test_the_account_reads_line_by_line(ported):
    text = _text(ported, "port.json")
    assert '    {"rule": "norm", "site": "TinyNorm.forward", "lines": [9, 10]},\n' in text
    assert text.endswith("}\n")


def test_the_same_port_gives_the_same_bytes_in_another_process(ported):
    code = (
        "import sys, pickle, hashlib; from porter.emit import render_port;"
        "files = render_port(*pickle.load(sys.stdin.buffer)).files;"
        "print({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})"
    )
    import pickle

    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=pickle.dumps((ported, PLACE)),
            capture_output=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_the_run_script_is_python_and_takes_the_launchers_words(ported):
    text = _text(ported, "run_tiny2.py")
    compile(text, "run_tiny2.py", "exec")
    assert 'LlmModelRunner("tiny2", arguments.model_path, **config)' in text
    for word in ("--model_path", "--prompt", "--execute_mode", "--local_rank"):
        assert f'"{word}"' in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", '"a"'),
        ("it's", '"it\'s"'),
        ('"', "'\"'"),
        ("a\\b", "'a\\\\b'"),
        (("a",), '("a",)'),
        (("a", ("b", "c")), '("a", ("b", "c"))'),
        ((), "()"),
    ],
)
def test_literals(value, text):
    assert literal(value) == text
    assert ast.literal_eval(text) == value

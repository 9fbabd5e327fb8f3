"""What pages say in sentences, beside the records and the code that it is said of."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import click

import porter
import porter.cli as cli
from porter.cli import talk
from porter.diagnostics import Refused
from porter.release import WINDOWS, tested
from porter.rulebook import load_rules
from porter.shipped import shipped
from tests.lowering.test_lower import A_LAYER
from tests.pages.blocks import PAGES, ROOT, prose

SAID = {path.stem: prose(path) for path in PAGES}
LLAMA = ROOT / "generated_models" / "llama2"


def test_as_many_rules_as_there_are():
    rules = load_rules(shipped("rules"))
    assert not isinstance(rules, Refused)
    assert f"| {len(rules)} rules, 64 draws in each of" in SAID["proofs"]
    assert f"Today there are {len(rules)}" in SAID["versions"]


def test_what_is_said_of_llama_is_what_its_port_has():
    account = json.loads((LLAMA / "port.json").read_text())
    statuses = [site["status"] for site in account["sites"]]
    assert set(statuses) == {"ported"}
    assert f"{len(account['rules'])} rules take all {len(statuses)} sites of Llama's modeling file" in SAID["changes"]
    lines = [line for line in (LLAMA / "port.diff").read_text().split("\n")[2:] if line]
    added, gone = (sum(line[0] == sign for line in lines) for sign in "+-")
    assert f"It has {added} lines added and {gone} taken away" in SAID["changes"]
    (row,) = [row for row in tested.tested_stacks() if row.transformers == account["source"]["version"]]
    assert f"{row.ports['llama2']['passed']} checks pass" in SAID["proofs"]


def test_the_kernels_of_a_layer_are_those_that_were_lowered():
    listed = ", ".join(op if count == 1 else f"{op} {count}" for op, count in A_LAYER.items())
    assert f"A layer of Llama is {sum(A_LAYER.values())} kernels: {listed}." in SAID["proofs"]


def test_the_relatives_of_llama_and_the_rules_that_are_named_are_there():
    for name in re.findall(r"`([a-z_]+)`", SAID["changes"]):
        known = (shipped("rules") / f"{name}.py").is_file() or name in SAID["ops"] or name in SAID["commands"]
        assert known or name in ("repeat_kv", "mark_static", "input_padding", "generated_models"), name


def test_the_exit_codes_are_those_of_the_commands():
    page = (ROOT / "porter/pages/commands.md").read_text()
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)]
    own = (talk.DONE, talk.FAILED, click.UsageError.exit_code, cli.BUG, cli.INTERRUPTED, cli.PIPE_CLOSED)
    assert tuple(codes) == own


def test_each_room_is_in_the_layout():
    package = Path(porter.__file__).parent
    rooms = {path.parent.name for path in package.glob("*/__init__.py")} | {"pages"}
    assert rooms == set(re.findall(r"`porter/([a-z_]+)/`", SAID["layout"]))


def test_the_census_is_the_recorded_one():
    census = json.loads((ROOT / "tests" / "ports" / "census.json").read_text())
    unseen = [bool(found["unseen"]) for found in census.values() if "unseen" in found]  # else it was not built
    assert f"{sum(unseen)} of {len(unseen)} models have an unseen one" in SAID["proofs"]


def test_the_windows_are_those_of_the_code():
    for text in (prose(ROOT / "README.md"), SAID["versions"], SAID["zh"]):
        assert f"`torch{WINDOWS['torch']}`" in text and f"`transformers{WINDOWS['transformers']}`" in text


def variables_read() -> set[str]:
    """Names that the package asks the environment for, where they stand in the call itself."""
    found = set()
    for file in Path(porter.__file__).parent.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "environ" in text else ():
            asked = node.slice if isinstance(node, ast.Subscript) else None
            asked = node.args[0] if isinstance(node, ast.Call) and node.args else asked
            if isinstance(asked, ast.Constant) and str(asked.value).isupper():
                owner = ast.unparse(node.func if isinstance(node, ast.Call) else node).split("(")[0]
                found |= {str(asked.value)} if "environ" in owner else set()
    return found


def test_every_environment_variable_that_is_read_is_on_the_page_and_none_besides():
    rows = [line for line in (ROOT / "porter/pages/running.md").read_text().split("\n") if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row.split("|")[1])}
    assert {"NO_COLOR", "EXE_MODE", "WORLD_SIZE"} <= variables_read() <= named
    code = "\n".join(file.read_text(encoding="utf-8") for file in Path(porter.__file__).parent.rglob("*.py"))
    assert [name for name in named if f'"{name}"' not in code] == []


def test_the_rule_on_the_page_is_the_one_that_porter_has():
    page, shipped_rule = (ROOT / "porter/pages/rules.md").read_text(), (shipped("rules") / "norm_rms.py").read_text()
    for name in ("before", "after"):
        here, there = (text.split(f"def {name}{rest}(self, x):\n")[1].split("\n\n\n")[0]
                       for text, rest in ((page, ""), (shipped_rule, "_forward")))  # fmt: skip
        assert here == there

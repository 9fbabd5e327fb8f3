"""What a command line may say: NAME and DIR alike, nothing that is taken and does nothing, nearest names at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import porter.cli
from tests.cli.conftest import ROOT

PORTS = ROOT / "generated_models"
LLAMA = "transformers.models.llama"
RUN = ("run", "llama2", "--model-path", ".", "--prompt", "a")

IDLE = {
    "verify": [
        ("verify", "llama2", "--level", "capture", "--quick"),
        ("verify", "llama2", "--level", "contract", "--config", "llama-2-7b", "--quick"),
        ("verify", "llama2", "--soc", "Ascend310P3"),
        ("verify", "llama2", "--level", "capture", "--tp", "2"),
        ("verify", "llama2", "--json", "-v"),
        ("verify", PORTS / "llama2", "--models", PORTS),
    ],
    "prove": [("prove", "swiglu", "--json", "--verbose")],
    "lower": [
        ("lower", "llama2", "--by-rule", "--edited"),
        ("lower", "llama2", "--by-rule", "-v"),
        ("lower", "llama2", "--by-rule", "--execute"),
        ("lower", "llama2", "--rules", "rules"),
        ("lower", "llama2", "--json", "-v"),
        ("lower", PORTS / "llama2", "--models", PORTS),
    ],
    "run": [
        (*RUN, "--backend", "eager"),
        (*RUN, "--cache-folder", "x"),
        (*RUN, "--execute-mode", "dynamo", "--device", "cpu", "--cache-folder", "x"),
        ("run", PORTS / "llama2", *RUN[2:], "--models", PORTS),
        (*RUN, "--stream", "--json"),
    ],
    "bench": [
        ("bench", "llama2", "--mode", "eager", "--backend", "eager"),
        ("bench", PORTS / "llama2", "--models", PORTS),
        ("bench", "llama2", "--large", "--quick"),
    ],
    "export": [("export", PORTS / "llama2", "--to", "x", "--models", PORTS)],
    "matrix": [
        ("matrix", "--fresh"),
        ("matrix", "--all"),
        ("matrix", "--all", "--level", "port"),
    ],
    "convert": [
        ("convert", LLAMA, "--check", "--force"),
        ("convert", LLAMA, "--check", "-v"),
        ("convert", LLAMA, "--json", "-v"),
        ("convert", LLAMA, "--format", "github"),
        ("convert", LLAMA, "--diff", "-v"),
        ("convert", LLAMA, "--diff", "--check"),
        ("convert", LLAMA, "--check", "--format", "sarif", "--json"),
    ],
    "inspect": [
        ("inspect", LLAMA, "--json", "--why"),
        ("inspect", LLAMA, "--json", "-v"),
        ("inspect", LLAMA, "--format", "sarif", "--why"),
        ("inspect", LLAMA, "--format", "sarif", "-v"),
        ("inspect", LLAMA, "--format", "sarif", "--json"),
    ],
    "rule": [("rule", "swiglu", "--all", "--no-sites"), ("rule", "swiglu", "--source", LLAMA, "--no-sites")],
    "check": [("check", "--format", "github", "--json")],
    "review": [("review", "llama2", "--html", "x", "--json"), ("review", PORTS / "llama2", "--models", PORTS)],
}


@pytest.mark.parametrize(
    "words", [words for lines in IDLE.values() for words in lines], ids=lambda words: " ".join(map(str, words[:9]))
)
def test_an_option_that_would_do_nothing_is_a_usage_error(porter_here, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    done = porter_here(*words)
    assert done.code == 2 and not list(tmp_path.iterdir())
    if "--json" in words:
        (diagnostic,) = json.loads(done.out)["diagnostics"]
        assert diagnostic["code"] == "P147" and done.err == ""
    else:
        assert done.out == "" and "Error: " in done.err


def test_what_only_permits_may_be_given_where_nothing_needs_it(porter_here, tmp_path):
    words = ("convert", LLAMA, "--out", tmp_path / "x", "--force", "--trust-remote-code", "--unproved")
    assert porter_here(*words).code == 0


def test_a_folder_that_would_stay_empty_is_refused_once_the_device_is_known(porter_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = porter_here(*RUN, "--execute-mode", "dynamo", "--cache-folder", "x")
    assert done.code == 1 and "error[P086]: device `" in done.err and not list(tmp_path.iterdir())


# --- NAME and DIR

TAKE_A_PORT = {
    "verify": ("--level", "contract", "--config", "llama-2-7b"),
    "lower": (),
    "run": ("--model-path", ".", "--prompt", "a"),
    "bench": (),
    "export": ("--to", "."),
    "review": (),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project with a port in its own folder of ports, and one elsewhere."""
    root = tmp_path_factory.mktemp("project")
    (root / "pyproject.toml").write_text('[tool.porter]\nmodels = "npu/ports"\n')
    for folder in ("npu/ports/mine", "other/mine"):
        assert porter.cli.exit_code(["convert", LLAMA, "--out", str(root / folder)]) == 0
    return root


@pytest.fixture
def project(made, monkeypatch) -> Path:
    monkeypatch.chdir(made)
    return made


@pytest.mark.parametrize("command", TAKE_A_PORT)
def test_every_command_takes_a_name_and_a_folder_alike(project, monkeypatch, command, porter_here):
    taken: list[Path] = []

    def caught(directory: Path, **_: object) -> int:
        taken.append(directory.resolve())
        return 0

    entry = porter.cli.commands.commands[command]
    inner = entry.callback
    monkeypatch.setattr(entry, "callback", lambda models, **options: caught(**options))
    rest = TAKE_A_PORT[command]
    for words in (("mine",), ("npu/ports/mine",), ("mine", "--models", "other"), ("other/mine",)):
        assert porter_here(command, *words, *rest).code == 0
    monkeypatch.chdir(project / "npu" / "ports" / "mine")
    assert porter_here(command, ".", *rest).code == 0
    ours, other = project / "npu" / "ports" / "mine", project / "other" / "mine"
    assert taken == [ours, ours, other, other, ours] and inner is not None


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("command", TAKE_A_PORT)
@pytest.mark.parametrize(
    ("given", "meant"),
    [("mime", "`mine`"), ("npu/ports/mime", "`npu/ports/mine`"), ("other/min", "`other/mine`")],
)
def test_a_mistyped_name_or_folder_says_what_is_near(porter_here, project, command, given, meant, as_json):
    done = porter_here(command, given, *TAKE_A_PORT[command], *(["--json"] if as_json else []))
    assert done.code == 1
    if as_json:
        (diagnostic,) = json.loads(done.out)["diagnostics"]
        assert diagnostic["code"] == "P080" and diagnostic["help"] == f"did you mean {meant}?"
    else:
        assert done.out == "" and done.err.startswith("error[P080]: ") and f"did you mean {meant}?" in done.err


# --- at once: nothing heavy is loaded before a name is known

MISTYPED = {
    "a configuration": ("verify", "llama2", "--level", "contract", "--config", "llama-2-7"),
    "a name": ("verify", "lama2"),
    "a folder": ("lower", str(PORTS / "lama2")),
    "a rule to prove": ("prove", "swigul"),
    "a rule to show": ("rule", "swigul"),
    "a site": ("why", LLAMA, "LlamaMPL"),
    "a topic": ("explain", "own-rule"),
    "a command's schema": ("schema", "verfy"),
    "a module": ("inspect", "transformers.models.lama"),
}
_LOADS = """
import sys, porter.cli
code = porter.cli.exit_code(sys.argv[1:])
heavy = {"torch", "transformers", "numpy", "rich"} & set(sys.modules)
sys.exit(3 if heavy else code)
"""


@pytest.mark.parametrize("words", MISTYPED.values(), ids=MISTYPED)
def test_what_is_mistyped_is_told_before_anything_heavy_is_loaded(environment, words):
    command = [sys.executable, "-c", _LOADS, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert (done.returncode, done.stdout) == (1, "") and "did you mean `" in done.stderr, done.stderr


def test_a_configuration_by_its_file_or_its_folder(porter_here, tmp_path):
    from porter.cli.completion import CONFIGS
    from porter.verify.contract import shipped_configs

    assert {path.stem: path for path in CONFIGS.glob("*.json")} == shipped_configs()
    (tmp_path / "config.json").write_text(shipped_configs()["llama-2-7b"].read_text())
    for given in (tmp_path, tmp_path / "config.json"):
        done = porter_here("verify", PORTS / "llama2", "--level", "contract", "--config", given, "--json")
        assert done.code == 0 and json.loads(done.out)["level"] == "contract"
    done = porter_here("verify", PORTS / "llama2", "--level", "contract", "--config", tmp_path / "none.json")
    assert done.code == 1 and done.err.startswith("error[P116]: no configuration `")

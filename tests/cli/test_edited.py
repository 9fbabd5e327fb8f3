"""A port whose code was changed after porter wrote it: said before it is executed, and executed only when asked."""

import json
import shutil
from importlib.machinery import EXTENSION_SUFFIXES

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.emit.edited import edited_files
from porter.runner import CannotRun, LlmModelRunner
from porter.source import load_source
from porter.verify.port import open_port

EXECUTED = "\nraise RuntimeError('the edited port was executed')\n"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    source = load_source("transformers.models.llama")
    assert not isinstance(source, Refused)
    ported = convert(source, name="llama2")
    assert not isinstance(ported, Refused)
    folder = tmp_path_factory.mktemp("ports") / "llama2"
    assert not isinstance(emit(ported, folder), Refused)
    return folder


@pytest.fixture
def edited(written, tmp_path):
    root = tmp_path / "generated_models"
    shutil.copytree(written.parent, root)
    with open(root / "llama2" / "modeling_llama.py", "a") as file:
        file.write(EXECUTED)
    return root / "llama2"


COMMANDS = {
    "verify": ["verify", "{}"],
    "verify, capture": ["verify", "{}", "--level", "capture"],
    "verify, contract": ["verify", "{}", "--level", "contract", "--config", "llama-2-7b"],
    "lower": ["lower", "{}"],
    "bench": ["bench", "{}"],
    "run": ["run", "llama2", "--models", "{}/..", "--model-path", "{}", "--prompt", "a"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_executes_it_unasked(porter_here, edited, command):
    done = porter_here(*(word.format(edited) for word in COMMANDS[command]))
    assert (done.code, done.out) == (1, "")
    (error,) = (line for line in done.err.splitlines() if line.startswith("error"))
    assert error.startswith("error[P135]: `") and error.endswith("/llama2/modeling_llama.py` is not what porter wrote")
    assert "give `--edited`" in done.err and "was executed" not in done.err


@pytest.mark.parametrize("command", ["verify", "verify, capture", "bench", "run"])
def test_with_the_flag_it_is_executed_and_that_is_said(edited, porter_here, command):
    done = porter_here(*(word.format(edited) for word in COMMANDS[command]), "--edited")
    assert done.code != 0 and "the edited port was executed" in " ".join((done.out + done.err).split())
    if command != "run":
        assert "edited by hand: modeling_llama.py; what follows is about the port as it is now" in done.err


def test_a_harmless_edit_is_verified_with_the_flag_and_named_in_the_document(edited, porter_here):
    file = edited / "modeling_llama.py"
    file.write_text(file.read_text().replace(EXECUTED, "\n# by hand\n"))
    done = porter_here("verify", edited, "--level", "contract", "--config", "llama-2-7b", "--edited", "--json")
    document = json.loads(done.out)
    assert done.code == 0 and document["ok"] and document["edited"] == ["modeling_llama.py"]


@pytest.mark.parametrize("name", ["__init__.py", "modeling_llama.py"])
def test_every_file_that_importing_runs_counts(written, tmp_path, name):
    place = shutil.copytree(written, tmp_path / "llama2")
    assert edited_files(place) == ()
    (place / name).write_text((place / name).read_text() + "\n")
    assert edited_files(place) == (name,)
    assert isinstance(open_port(place), Refused) and not isinstance(open_port(place, edited=True), Refused)
    (place / name).unlink()
    assert edited_files(place) == (name,)


SHADOWS = ["modeling_llama/__init__.py", f"modeling_llama{EXTENSION_SUFFIXES[0]}", f"__init__{EXTENSION_SUFFIXES[-1]}"]


@pytest.mark.parametrize("name", SHADOWS)
def test_what_python_imports_in_its_place_counts(written, tmp_path, name):
    place = shutil.copytree(written, tmp_path / "llama2")
    (place / name).parent.mkdir(exist_ok=True)
    (place / name).write_text("")
    assert edited_files(place) == (name,)
    assert isinstance(open_port(place), Refused)


@pytest.mark.parametrize("name", ["__init__.py", "modeling_llama.py"])
def test_what_the_account_has_no_hash_of_counts(written, tmp_path, name):
    place = shutil.copytree(written, tmp_path / "llama2")
    account = json.loads((place / "port.json").read_text())
    del account["files"][name]
    (place / "port.json").write_text(json.dumps(account))
    assert edited_files(place) == (name,)


@pytest.mark.parametrize("name", ["run_llama2.py", "port.diff"])
def test_what_is_never_imported_may_change(written, tmp_path, name):
    place = shutil.copytree(written, tmp_path / "llama2")
    (place / name).write_text("")
    assert edited_files(place) == ()


def test_the_runner_of_python_code_wants_it_said_too(edited, tmp_path):
    with pytest.raises(CannotRun, match=r"in Python the setting `edited=True`") as refused:
        LlmModelRunner("llama2", tmp_path, models=edited.parent)
    assert refused.value.diagnostic.code == "P135"
    with pytest.raises(CannotRun, match="the edited port was executed"):
        LlmModelRunner("llama2", tmp_path, models=edited.parent, edited=True)


def test_a_folder_without_an_account_is_nobodys_to_judge(tmp_path):
    (tmp_path / "modeling_x.py").write_text("")
    assert edited_files(tmp_path) == ()
    for account in ("", "[]", '{"files": 5}', '{"files": {"a.py": 1}}', '{"files": []}'):
        (tmp_path / "port.json").write_text(account)
        assert edited_files(tmp_path) in ((), ("a.py",))

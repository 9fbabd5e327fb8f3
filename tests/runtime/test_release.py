"""A port under another transformers, or beside another source, than it was made from: never loaded in silence.

The installed release is played by its version: what a process believes is what `transformers.__version__` says, and
before that is imported what is written in the package's metadata.
"""

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
from transformers import LlamaConfig

import porter
from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.release import PYTHON, TRANSFORMERS, WINDOWS, OtherRelease, is_within, other_release, release_of
from porter.runner import CannotRun, LlmModelRunner
from porter.runtime import PortedFrom, load_model_class
from porter.runtime.made_from import check_installed
from porter.source import load_source

ROOT = Path(porter.__file__).parents[1]
MODULE = "transformers.models.llama.modeling_llama"
NOW = importlib.metadata.version("transformers")
FIRST, END = TRANSFORMERS.removeprefix(">=").split(",<")
MAJOR, MINOR = map(int, FIRST.split("."))
OUTSIDE = (f"{MAJOR}.{MINOR - 1}.9", f"{FIRST}.0.dev0", f"{FIRST}0.1", f"{END}.0.dev0", f"{END}.0", f"{MAJOR + 1}.0")
WITHIN = tuple(f"{MAJOR}.{minor}.0" for minor in range(MINOR, int(END.split(".")[1])))
TINY = LlamaConfig(vocab_size=8, hidden_size=8, num_attention_heads=2, num_hidden_layers=1)
OTHERS = tuple(version for version in WITHIN if release_of(version) != release_of(NOW))


def port_to(folder: Path, spec: str = "transformers.models.llama") -> Path:
    source = load_source(spec)
    assert not isinstance(source, Refused), source
    ported = convert(source, name=folder.name)
    assert not isinstance(ported, Refused), ported
    assert not isinstance(emit(ported, folder), Refused)
    return folder


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    return port_to(tmp_path_factory.mktemp("ports") / "llama2").parent


def pretend(folder: Path, version: str) -> Path:
    """A folder that says, before the real one does, which transformers is installed."""
    place = folder / f"transformers-{version}.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: transformers\nVersion: {version}\n")
    return folder


def test_the_windows_are_what_porter_depends_on():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert project["requires-python"] == PYTHON
    assert f"torch_npu{WINDOWS['torch']}" in extras["npu"]
    dependencies = [*project["dependencies"], *extras["tp"], *extras["adapters"]]
    assert [f"{name}{window}" for name, window in WINDOWS.items() if f"{name}{window}" not in dependencies] == []
    assert other_release() is None


def test_a_version_belongs_to_a_release_and_what_comes_before_one_does_not():
    assert {release_of(f"{FIRST}{tail}") for tail in ("", ".0", ".7", ".1.post1")} == {FIRST}
    assert all(release_of(f"{FIRST}{tail}") not in (FIRST, f"{FIRST}.0") for tail in (".0.dev0", ".0rc1"))
    assert [version for version in WITHIN if not is_within(version, TRANSFORMERS)] == []
    assert [version for version in OUTSIDE if is_within(version, TRANSFORMERS)] == []
    assert is_within(f"{FIRST}.0+cpu", TRANSFORMERS)


@pytest.mark.parametrize("version", [*OUTSIDE, *OTHERS])
def test_no_model_is_built_under_another_release(ports, monkeypatch, version):
    port = load_model_class("llama2", ports)
    monkeypatch.setitem(vars(sys.modules["transformers"]), "__version__", version)
    said = f"LlamaForCausalLM was made under transformers {NOW}, and transformers {version} is installed"
    if version in OUTSIDE:
        said = f"transformers {version} is installed, and porter {porter.__version__} works with {TRANSFORMERS} only"
    for make in (port, port._from_config):
        with pytest.raises(OtherRelease) as refused:
            make(TINY)
        assert said in str(refused.value)
    with pytest.raises(OtherRelease, match=r"convert (it )?again"):
        type("Mine", (port,), {})


@pytest.mark.parametrize("tail", [".0", ".7", ""])
def test_a_port_is_taken_under_its_own_release(ports, monkeypatch, tail):
    monkeypatch.setitem(vars(sys.modules["transformers"]), "__version__", release_of(NOW) + tail)
    load_model_class("llama2", ports)._from_config(TINY)
    assert other_release() is None


@pytest.mark.parametrize("version", OTHERS[:1])
def test_a_port_of_a_file_says_which_release_it_was_made_under(tmp_path, monkeypatch, importing, version):
    library = load_source("transformers.models.llama")
    assert not isinstance(library, Refused)
    text = library.text.replace("from ...", "from transformers.")
    text = text.replace("from .configuration_llama", "from transformers.models.llama.configuration_llama")
    (tmp_path / "modeling_mine.py").write_text(text)
    port = port_to(tmp_path / "ports" / "port", str(tmp_path / "modeling_mine.py"))
    account = json.loads((port / "port.json").read_text())
    assert (account["source"]["version"], account["source"]["made_under"]) == (None, NOW)
    importing("port", port.parent)
    with monkeypatch.context() as other:
        other.setitem(vars(sys.modules["transformers"]), "__version__", version)
        with pytest.raises(OtherRelease, match=f"was made under transformers {NOW}"):
            importing("port", port.parent)


def test_a_registered_port_and_its_runner_refuse_another_release(ports, tmp_path, monkeypatch):
    place = port_to(tmp_path / "again" / "llama2").parent
    monkeypatch.setitem(vars(sys.modules["transformers"]), "__version__", OTHERS[-1])
    with pytest.raises(OtherRelease):
        load_model_class("llama2", place)  # its first import
    with pytest.raises(CannotRun, match="convert it again") as refused:
        LlmModelRunner("llama2", tmp_path, models=place)
    assert refused.value.diagnostic.code == "P134"


ALONE = ("llama2", "llama2.modeling_llama", "porter.runtime", "porter.runner")
PROCESS = """
import importlib, json
from porter.cli import exit_code
from porter.release import OtherRelease
for name in {names!r}:
    try:
        importlib.import_module(name)
    except OtherRelease as error:
        print(name, error)
print([exit_code(words) for words in {commands!r}])
"""


def test_whoever_imports_it_is_refused_before_anything_of_transformers_is_asked_for(ports, tmp_path):
    """As a launcher or a script imports it, without registry and runner; and by every command that executes a port."""
    port = str(ports / "llama2")
    run = ["run", "llama2", "--models", str(ports), "--model-path", ".", "--prompt", "a"]
    commands = [run, ["verify", port], ["lower", port], ["bench", port]]
    code = PROCESS.format(names=ALONE, commands=commands)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (pretend(tmp_path, f"{END}.0"), ports, ROOT)))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    *alone, exits = done.stdout.splitlines()
    assert [line.split(" ", 1)[0] for line in alone] == list(ALONE), done.stderr
    assert all(line.split(" ", 1)[1].startswith(f"transformers {END}.0 is installed") for line in alone)
    assert exits == "[1, 1, 1, 1]"
    assert done.stderr.count(f"error[P134]: transformers {END}.0 is installed") == 4 and "Traceback" not in done.stderr


@pytest.fixture
def importing(monkeypatch):
    """Imports afresh from a folder, and forgets it again."""
    before = set(sys.modules)

    def forget():
        for name in set(sys.modules) - before:
            if name.split(".")[0] in ("mine", "port", "alone", "models"):
                del sys.modules[name]

    def load(name, *folders):
        forget()
        for folder in folders:
            monkeypatch.syspath_prepend(str(folder))
        return importlib.import_module(name)

    yield load
    forget()


def test_a_source_whose_text_is_another_one_now(importing, tmp_path, monkeypatch):
    """The installed file changed under one version: a patched installation, another commit."""
    package, ported = tmp_path / "site" / "mine", tmp_path / "ports"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    library = load_source("transformers.models.llama")
    assert not isinstance(library, Refused)
    text = library.text.replace("from ...", "from transformers.")
    text = text.replace("from .configuration_llama", "from transformers.models.llama.configuration_llama")
    file = package / "modeling_mine.py"
    file.write_text(text)
    monkeypatch.syspath_prepend(str(package.parent))
    port_to(ported / "port", "mine.modeling_mine")
    (ported / "alone").mkdir()  # without port.json and the package's file
    (ported / "alone" / file.name).write_text((ported / "port" / file.name).read_text())
    for name in ("port", "alone.modeling_mine"):
        importing(name, ported)
    file.write_text(text + "\n")
    for name in ("port", "alone.modeling_mine"):
        with pytest.raises(OtherRelease, match=r"convert `mine\.modeling_mine` again") as refused:
            importing(name, ported)
        assert f"`{file}` is not the text that MinePreTrainedModel was" in str(refused.value).replace("Llama", "Mine")
    file.unlink()  # what is gone says nothing: the port holds its own copy
    importing("port", ported)


def test_the_text_of_transformers_own_file_is_compared(tmp_path):
    changed = PortedFrom(MODULE, NOW, "0" * 64)
    with pytest.raises(OtherRelease, match=rf"ported from \(transformers {NOW}\): .*convert `transformers\.models"):
        check_installed("LlamaModel", changed)
    check_installed("LlamaModel", PortedFrom("transformers.models.no.modeling_no", NOW, "0" * 64))
    check_installed("MineModel", None)


@pytest.mark.parametrize("model", ["llama", "mixtral"])
def test_a_port_in_a_folder_called_models_says_nothing_when_it_is_imported(importing, tmp_path, capfd, model):
    port_to(tmp_path / "models" / "mine", f"transformers.models.{model}")
    port = importing(f"models.mine.modeling_{model}", tmp_path)
    assert capfd.readouterr() == ("", "")
    assert "input_ids" in getattr(port, port.__all__[0]).forward.__doc__  # the docstrings are there all the same

"""A port under another transformers, or beside another source, than it was made from: never loaded in silence.

The installed release is played by its version: what a process believes is what `transformers.__version__` says, and
before that is imported what is written in the package's metadata.
"""

import importlib
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
from porter.release import TESTED, OtherRelease, other_release
from porter.runner import CannotRun, LlmModelRunner
from porter.runtime import PortedFrom, load_model_class
from porter.runtime.made_from import check_installed
from porter.source import load_source

ROOT = Path(porter.__file__).parents[1]
MODULE = "transformers.models.llama.modeling_llama"
OTHERS = ("5.14.0", "5.20.1", "5.22.0", "5.24.0", "5.24.0.dev0", "5.230.0", "6.0.0", "4.57.1")


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


def test_what_was_tested_is_what_is_installed_with_porter():
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"transformers=={TESTED}.*" in dependencies
    assert other_release() is None


@pytest.mark.parametrize("version", OTHERS)
def test_no_model_is_built_under_another_release(ports, monkeypatch, version):
    port = load_model_class("llama2", ports)
    config = LlamaConfig(vocab_size=8, hidden_size=8, num_attention_heads=2, num_hidden_layers=1)
    monkeypatch.setitem(vars(sys.modules["transformers"]), "__version__", version)
    said = f"transformers {version} is installed, and porter {porter.__version__} was tested with {TESTED} only"
    for make in (port, port._from_config):
        with pytest.raises(OtherRelease) as refused:
            make(config)
        assert said in str(refused.value)
    with pytest.raises(OtherRelease, match="convert again"):
        type("Mine", (port,), {})


@pytest.mark.parametrize("version", ["5.23.0", "5.23.7", "5.23"])
def test_a_release_of_the_tested_kind_is_taken(monkeypatch, version):
    monkeypatch.setitem(vars(sys.modules["transformers"]), "__version__", version)
    assert other_release() is None


def test_a_registered_port_and_its_runner_refuse_another_release(ports, tmp_path, monkeypatch):
    place = port_to(tmp_path / "again" / "llama2").parent
    monkeypatch.setitem(vars(sys.modules["transformers"]), "__version__", "5.24.0")
    with pytest.raises(OtherRelease):
        load_model_class("llama2", place)  # its first import
    with pytest.raises(CannotRun, match="convert again") as refused:
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
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (pretend(tmp_path, "5.24.0"), ports, ROOT)))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    *alone, exits = done.stdout.splitlines()
    assert [line.split(" ", 1)[0] for line in alone] == list(ALONE), done.stderr
    assert all(line.split(" ", 1)[1].startswith("transformers 5.24.0 is installed") for line in alone)
    assert exits == "[1, 1, 1, 1]"
    assert done.stderr.count("error[P134]: transformers 5.24.0 is installed") == 4 and "Traceback" not in done.stderr


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
    changed = PortedFrom(MODULE, "5.23.0", "0" * 64)
    with pytest.raises(OtherRelease, match=r"ported from \(transformers 5\.23\.0\): .*convert `transformers\.models"):
        check_installed("LlamaModel", changed)
    check_installed("LlamaModel", PortedFrom("transformers.models.no.modeling_no", "5.23.0", "0" * 64))
    check_installed("MineModel", None)


@pytest.mark.parametrize("model", ["llama", "mixtral"])
def test_a_port_in_a_folder_called_models_says_nothing_when_it_is_imported(importing, tmp_path, capfd, model):
    port_to(tmp_path / "models" / "mine", f"transformers.models.{model}")
    port = importing(f"models.mine.modeling_{model}", tmp_path)
    assert capfd.readouterr() == ("", "")
    assert "input_ids" in getattr(port, port.__all__[0]).forward.__doc__  # the docstrings are there all the same

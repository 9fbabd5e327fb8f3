"""A port under another transformers, or beside another source, than it was made from: never loaded in silence.

The installed release is played by its version: what a process believes is what `transformers.__version__` says, and
before that is imported what is written in the package's metadata.
"""

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


def process(code: str, *path: Path, cwd: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT)))}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=cwd)


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


@pytest.mark.parametrize("version", ["5.14.0", "5.24.0"])
def test_importing_the_file_alone_is_refused_before_anything_of_transformers(ports, tmp_path, version):
    """As a launcher or a script imports it: no registry, no runner."""
    code = (
        "import importlib\nfrom porter.release import OtherRelease\n"
        f"for name in {ALONE!r}:\n    try: importlib.import_module(name)\n    except OtherRelease as e: print(name, e)"
    )
    done = process(code, pretend(tmp_path, version), ports, cwd=tmp_path)
    said = done.stdout.splitlines()
    assert [line.split(" ", 1)[0] for line in said] == list(ALONE), done.stderr
    assert all(line.split(" ", 1)[1].startswith(f"transformers {version} is installed") for line in said)


def test_every_command_that_executes_a_port_says_so(ports, tmp_path):
    port = str(ports / "llama2")
    run = ["run", "llama2", "--models", str(ports), "--model-path", ".", "--prompt", "a"]
    commands = [run, ["verify", port], ["lower", port], ["bench", port], [*run, "--json"]]
    code = f"from porter.cli import exit_code\nfor words in {commands!r}: print(exit_code(words))"
    done = process(code, pretend(tmp_path / "metadata", "5.24.0"), cwd=tmp_path)
    told = [
        line for line in done.stderr.splitlines() if line.startswith("error[P134]: transformers 5.24.0 is installed")
    ]
    assert len(told) == 4 and done.stdout.startswith("1\n1\n1\n1\n{")
    assert json.loads(done.stdout.split("\n", 4)[4].rpartition("}")[0] + "}")["diagnostics"][0]["code"] == "P134"


def test_a_source_whose_text_is_another_one_now(ports, tmp_path):
    """The installed file changed under one version: a patched installation, another commit."""
    package = tmp_path / "site" / "mine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    library = load_source("transformers.models.llama")
    text = library.text.replace("from ...", "from transformers.").replace(
        "from .configuration_llama", "from transformers.models.llama.configuration_llama"
    )
    (package / "modeling_mine.py").write_text(text)
    code = (
        "from porter.source import load_source; from porter.convert import convert; from porter.emit import emit;"
        "from pathlib import Path;"
        "print(emit(convert(load_source('mine.modeling_mine'), name='port'), Path('ports/port')))"
    )
    done = process(code, package.parent, cwd=tmp_path)
    assert "Written(" in done.stdout, done.stderr
    (tmp_path / "ports" / "alone").mkdir()
    alone = (tmp_path / "ports" / "port" / "modeling_mine.py").read_text()
    (tmp_path / "ports" / "alone" / "modeling_mine.py").write_text(alone)  # without port.json, without the package file
    loads = {"the package": "import port", "the file alone": "import alone.modeling_mine"}
    for code in loads.values():
        assert process(code, package.parent, tmp_path / "ports", cwd=tmp_path).returncode == 0
    (package / "modeling_mine.py").write_text(text + "\n")
    for code in loads.values():
        done = process(code, package.parent, tmp_path / "ports", cwd=tmp_path)
        assert done.returncode == 1 and "Traceback" in done.stderr
        assert f"`{package / 'modeling_mine.py'}` is not the text that LlamaPreTrainedModel was ported" in done.stderr
        assert "convert `mine.modeling_mine` again" in done.stderr
    (package / "modeling_mine.py").unlink()  # what is gone says nothing: the port holds its own copy
    assert process("import port", package.parent, tmp_path / "ports", cwd=tmp_path).returncode == 0


def test_the_text_of_transformers_own_file_is_compared(tmp_path):
    changed = PortedFrom(MODULE, "5.23.0", "0" * 64)
    with pytest.raises(OtherRelease, match=r"ported from \(transformers 5\.23\.0\): .*convert `transformers\.models"):
        check_installed("LlamaModel", changed)
    check_installed("LlamaModel", PortedFrom("transformers.models.no.modeling_no", "5.23.0", "0" * 64))
    check_installed("MineModel", None)


@pytest.mark.parametrize("model", ["llama", "mixtral"])
def test_a_port_in_a_folder_called_models_says_nothing_when_it_is_imported(tmp_path, model):
    port_to(tmp_path / "models" / "mine", f"transformers.models.{model}")
    code = f"import models.mine.modeling_{model} as port; print(len(port.__all__) > 0)"
    done = process(code, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("True\n", "")

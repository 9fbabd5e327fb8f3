"""A port to check, converted here, and copies of it with one thing broken; model code that no package holds."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.source import load_source


def make_port(folder: Path, module: str) -> Path:
    return port_to(folder / module, f"transformers.models.{module}")


def port_to(place: Path, spec: str, force: bool = False) -> Path:
    source = load_source(spec)
    assert not isinstance(source, Refused), source
    ported = convert(source, name=place.name, trust_remote_code=True)  # the tests' own code
    assert not isinstance(ported, Refused), ported
    written = emit(ported, place, force=force)
    assert not isinstance(written, Refused), written
    return place


def write_checkpoint_code(folder: Path) -> Path:
    """A checkpoint's folder with code of its own, as a hub has them: Llama's, under other names.

    Its `_init_weights` is of the old kind, which knows nothing of weights that are loaded already.
    """
    folder.mkdir(parents=True)
    library = load_source("transformers.models.llama")
    assert not isinstance(library, Refused) and library.configuration is not None
    texts = {"modeling_mine.py": library.text, "configuration_mine.py": library.configuration.text}
    attribute = "    config: MineConfig\n"
    draws = (
        f"{attribute}\n    def _init_weights(self, module):\n        if isinstance(module, nn.Linear):\n"
        "            module.weight.data.normal_(mean=0.0, std=0.02)\n"
        "        else:\n            super()._init_weights(module)\n\n"
    )
    for name, text in texts.items():
        text = text.replace("from ...", "from transformers.").replace("Llama", "Mine").replace('"llama"', '"mine"')
        text = text.replace("from .configuration_llama", "from .configuration_mine")
        (folder / name).write_text(text.replace(f"(PreTrainedModel):\n{attribute}", f"(PreTrainedModel):\n{draws}"))
    assert draws in (folder / "modeling_mine.py").read_text()
    auto_map = {"AutoConfig": "configuration_mine.MineConfig", "AutoModelForCausalLM": "modeling_mine.MineForCausalLM"}
    config = {"architectures": ["MineForCausalLM"], "model_type": "mine", "auto_map": auto_map}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def llama(tmp_path_factory) -> Path:
    return make_port(tmp_path_factory.mktemp("ports"), "llama")


@pytest.fixture(scope="session")
def mistral(tmp_path_factory) -> Path:
    return make_port(tmp_path_factory.mktemp("ports"), "mistral")


@pytest.fixture
def broken(llama, tmp_path):
    """A copy of the Llama port with `old` replaced by `new`, as if porter had written it so; `old` must occur."""

    def copy(old: str, new: str, name: str = "broken") -> Path:
        place = tmp_path / name
        shutil.copytree(llama, place)
        file = place / "modeling_llama.py"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        account = json.loads((place / "port.json").read_text())
        account["files"][file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
        (place / "port.json").write_text(json.dumps(account))
        return place

    return copy

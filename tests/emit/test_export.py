"""`porter export`: a checkpoint with the port beside it loads as the port where remote code is trusted."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from porter.cli import exit_code
from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.emit.export import AUTO_CLASS, export
from porter.emit.json_member import with_member
from porter.runtime import NpuPreTrainedModel
from porter.source import load_source
from tests.emit.conftest import SIZES
from tests.verify.conftest import write_checkpoint_code

ENTRY = "modeling_llama_npu.LlamaForCausalLM"
IDS = torch.arange(3, 12)[None]


@pytest.fixture(autouse=True)
def modules_cache(tmp_path, monkeypatch):
    """transformers copies remote code into its cache: here into a folder of the test's."""
    for module in ("transformers.dynamic_module_utils", "transformers.utils.hub", "transformers.utils"):
        monkeypatch.setattr(f"{module}.HF_MODULES_CACHE", str(tmp_path / "modules"), raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "modules")])


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_it_loads_as_the_port_where_remote_code_is_trusted(port, checkpoint, tmp_path):
    before = contents(checkpoint)
    written = export(port, checkpoint)
    assert written.entry == ENTRY and written.before is None
    source = AutoModelForCausalLM.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True)
    assert type(source) is LlamaForCausalLM and isinstance(model, NpuPreTrainedModel)
    assert torch.allclose(model(IDS).logits, source(IDS).logits, atol=1e-5)
    asked = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(model.generate(IDS, **asked), source.generate(IDS, **asked))
    config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=True)
    assert type(AutoModelForCausalLM.from_config(config, trust_remote_code=True)) is type(model)
    model.save_pretrained(tmp_path / "saved")  # takes its code along
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", trust_remote_code=True)
    assert isinstance(again, NpuPreTrainedModel) and torch.equal(again(IDS).logits, model(IDS).logits)
    after = contents(checkpoint)
    added = f'\n  "auto_map": {{\n    "AutoModelForCausalLM": "{ENTRY}"\n  }},'.encode()
    assert after.pop("config.json").replace(added, b"") == before.pop("config.json")
    text = after.pop("modeling_llama_npu.py").decode()
    assert after == before
    assert text.startswith("# Exported by porter") and text.index("import porter.runtime") < text.index(
        "transformers.cache"
    )
    assert (port / "modeling_llama.py").read_text().splitlines()[-60:] == text.splitlines()[-60:]


def test_without_porter_loading_is_one_error_that_names_it(port, checkpoint, tmp_path):
    export(port, checkpoint)
    code = (
        "import sys; sys.path = [p for p in sys.path if p not in sys.argv[2:]]; sys.modules.pop('porter', None); "
        "from transformers import AutoModelForCausalLM as A; A.from_pretrained(sys.argv[1], trust_remote_code=True)"
    )
    shadow = tmp_path / "shadow" / "sitecustomize.py"
    shadow.parent.mkdir()
    shadow.write_text(
        "import sys\nclass Gone:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'porter':\n"
        "            raise ModuleNotFoundError(\"No module named 'porter'\")\nsys.meta_path.insert(0, Gone())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(shadow.parent), "HF_MODULES_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code, checkpoint], capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "ImportError" in done.stderr and ": porter." in done.stderr.splitlines()[-1]


def test_again_changes_nothing_and_an_auto_map_is_kept(port, checkpoint):
    export(port, checkpoint)
    first = contents(checkpoint)
    assert export(port, checkpoint).before is None and contents(checkpoint) == first
    config = checkpoint / "config.json"
    own = {"AutoModel": "mine.Base", AUTO_CLASS: "mine.Model"}
    config.write_text(with_member(config.read_text(), "auto_map", own))
    (checkpoint / "modeling_llama_npu.py").write_text("# somebody else's\n")
    spoiled = contents(checkpoint)
    refused = export(port, checkpoint)
    assert refused.diagnostics[0].code == "P161" and contents(checkpoint) == spoiled
    said = "\n".join(refused.diagnostics[0].notes)
    assert "mine.Model" in said and "modeling_llama_npu.py" in said
    assert export(port, checkpoint, force=True).before == "mine.Model"
    assert json.loads(config.read_text())["auto_map"] == {**own, AUTO_CLASS: ENTRY}
    assert contents(checkpoint)["modeling_llama_npu.py"] == first["modeling_llama_npu.py"]


@pytest.mark.parametrize("place", ["configuration_llama", "somebody/else--configuration_llama", "modeling_llama"])
def test_another_configuration_of_the_same_name_does_not_come_to_the_port(port, checkpoint, capfd, place):
    """Its class has other numbers than the configuration that the port was made with."""
    config, said = checkpoint / "config.json", f"{place}.LlamaConfig"
    config.write_text(with_member(config.read_text(), "auto_map", {"AutoConfig": said}))
    text = "from transformers import LlamaConfig as C\n\n\nclass LlamaConfig(C):\n    rms_norm_eps = 0.5\n"
    (checkpoint / f"{place.rpartition('/')[2]}.py").write_text(text)
    before = contents(checkpoint)
    refused = export(port, checkpoint)
    assert refused.diagnostics[0].code == "P161" and contents(checkpoint) == before
    assert f"AutoConfig: {said}" in refused.diagnostics[0].notes[0]
    assert exit_code(["export", str(port), "--to", str(checkpoint), "--force"]) == 0
    assert f"AutoConfig: {said}; dropped" in capfd.readouterr().out
    assert json.loads(config.read_text())["auto_map"] == {AUTO_CLASS: ENTRY}
    model = AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True)
    assert isinstance(model, NpuPreTrainedModel) and type(model.config) is LlamaConfig


def test_the_configuration_that_came_with_the_port_is_the_one_that_auto_map_names(tmp_path):
    checkpoint = write_checkpoint_code(tmp_path / "checkpoint")
    emit(convert(load_source(str(checkpoint)), name="mine"), tmp_path / "mine")
    config = checkpoint / "config.json"
    config.write_text(with_member(config.read_text(), "auto_map", {"AutoConfig": "a/b--configuration_mine.MineConfig"}))
    before = contents(checkpoint)
    refused = export(tmp_path / "mine", checkpoint, force=True)
    assert refused.diagnostics[0].code == "P161" and contents(checkpoint) == before
    assert refused.diagnostics[0].help == "let its auto_map name the class in `configuration_mine.py`"


def test_an_auto_map_of_other_classes_needs_no_force(port, checkpoint):
    config = checkpoint / "config.json"
    config.write_text(with_member(config.read_text(), "auto_map", {"AutoTokenizer": ["t.T", None]}))
    assert not isinstance(export(port, checkpoint), Refused)
    assert json.loads(config.read_text())["auto_map"] == {"AutoTokenizer": ["t.T", None], AUTO_CLASS: ENTRY}


REFUSED = {
    "no port": (lambda port, checkpoint: (port / "port.json").unlink(), "P072"),
    "edited": (lambda port, checkpoint: (port / "modeling_llama.py").write_text("x = 1\n"), "P135"),
    "no checkpoint": (lambda port, checkpoint: shutil.rmtree(checkpoint), "P081"),
    "no json": (lambda port, checkpoint: (checkpoint / "config.json").write_text("{"), "P081"),
    "a list": (lambda port, checkpoint: (checkpoint / "config.json").write_text("[]"), "P081"),
    "another model": (
        lambda port, checkpoint: (checkpoint / "config.json").write_text('{"architectures": ["MineForCausalLM"]}'),
        "P083",
    ),
    "an odd map": (lambda port, checkpoint: (checkpoint / "config.json").write_text('{"auto_map": [1]}'), "P081"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_refused_and_nothing_is_written(port, checkpoint, tmp_path, case):
    spoil, code = REFUSED[case]
    mine = shutil.copytree(port, tmp_path / "llama2")
    spoil(mine, checkpoint)
    before = contents(checkpoint) if checkpoint.exists() else None
    refused = export(mine, checkpoint)
    assert isinstance(refused, Refused) and refused.diagnostics[0].code == code
    assert before == (contents(checkpoint) if checkpoint.exists() else None)


@pytest.mark.parametrize("failing", ["modeling_llama_npu.py", "config.json"])
@pytest.mark.parametrize("force", [False, True])
def test_all_is_written_or_nothing(port, checkpoint, monkeypatch, failing, force):
    if force:
        (checkpoint / "modeling_llama_npu.py").write_text("# somebody else's\n")
    before = contents(checkpoint)
    replace = os.replace

    def full(new, place):
        if os.path.basename(place) == failing and not full.failed:
            full.failed = True
            raise OSError(28, "No space left on device")
        replace(new, place)

    full.failed = False
    monkeypatch.setattr("porter.emit.swap.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        export(port, checkpoint, force=force)
    assert full.failed and contents(checkpoint) == before


def test_what_a_port_imports_from_beside_it_goes_along(tmp_path):
    """A port of a checkpoint's own code, exported into that checkpoint."""
    checkpoint = write_checkpoint_code(tmp_path / "checkpoint")
    emit(convert(load_source(str(checkpoint)), name="mine"), tmp_path / "models" / "mine")
    refused = export(tmp_path / "models" / "mine", checkpoint)
    assert refused.diagnostics[0].code == "P161"
    assert "modeling_mine.MineForCausalLM" in refused.diagnostics[0].notes[0]
    written = export(tmp_path / "models" / "mine", checkpoint, force=True)
    assert written.before == "modeling_mine.MineForCausalLM" and "configuration_mine.py" in written.files
    config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=True, **SIZES)
    model = AutoModelForCausalLM.from_config(config, trust_remote_code=True)
    assert isinstance(model, NpuPreTrainedModel) and model(IDS).logits.shape == (1, 9, 64)


def test_a_configuration_in_the_modeling_file_comes_out_of_the_port(tmp_path):
    checkpoint = write_checkpoint_code(tmp_path / "checkpoint")
    own, model = checkpoint / "configuration_mine.py", checkpoint / "modeling_mine.py"
    head, line, code = model.read_text().partition("from .configuration_mine import MineConfig\n")
    assert line
    model.write_text(head + own.read_text().replace("__all__ =", "_NAMES =") + code)
    own.unlink()
    config = checkpoint / "config.json"
    said = {"AutoConfig": "modeling_mine.MineConfig", AUTO_CLASS: "modeling_mine.MineForCausalLM"}
    config.write_text(with_member(config.read_text(), "auto_map", said))
    ported = convert(load_source(str(model)), name="mine")
    assert not isinstance(ported, Refused), ported
    emit(ported, tmp_path / "mine")
    written = export(tmp_path / "mine", checkpoint, force=True)
    assert written.before == "modeling_mine.MineForCausalLM" and written.dropped is None
    read = AutoConfig.from_pretrained(checkpoint, trust_remote_code=True, **SIZES)
    port = AutoModelForCausalLM.from_config(read, trust_remote_code=True)
    assert isinstance(port, NpuPreTrainedModel) and type(read) is type(port).config_class


TEXTS = {
    "{}": '{"x": 1}',
    "{ }": '{"x": 1 }',
    '{"a": 2}': '{"x": 1, "a": 2}',
    '{\n  "a": {"x": 3}\n}\n': '{\n  "x": 1,\n  "a": {"x": 3}\n}\n',
    '\r\n{\r\n\t"a": 1e5\r\n}': '\r\n{\r\n\t"x": 1,\r\n\t"a": 1e5\r\n}',
    '{"a": "}\\"", "x" : [5, {"x": 6}] , "b": 1.0}': '{"a": "}\\"", "x" : 1 , "b": 1.0}',
    '{"x": 1, "x": 2}': '{"x": 1, "x": 1}',
}


@pytest.mark.parametrize("text", TEXTS, ids=repr)
def test_one_member_is_set_and_every_other_byte_stays(text):
    assert with_member(text, "x", 1) == TEXTS[text]
    json.loads(TEXTS[text])

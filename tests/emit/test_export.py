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
from tests.verify.conftest import write_checkpoint_code

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
ENTRY = "modeling_llama_npu.LlamaForCausalLM"
IDS = torch.arange(3, 12)[None]


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "llama2"
    assert not isinstance(emit(convert(load_source("transformers.models.llama"), name="llama2"), folder), Refused)
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


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


def llama_with(folder, first, **beside):
    """The port of Llama's code in a folder of its own, with first lines and with files beside it."""
    text = load_source("transformers.models.llama").text.replace("from ...", "from transformers.")
    text = text.replace("from .configuration_llama", "from transformers.models.llama.configuration_llama")
    (folder / "code").mkdir(parents=True)
    data = {"modeling_llama": f"{first}\n{text}", **beside}
    for name, written in data.items():
        (folder / "code" / f"{name}.py").write_bytes(written.encode("latin-1" if "latin" in written else "utf-8"))
    ported = convert(load_source(str(folder / "code" / "modeling_llama.py")), name="mine")
    assert not isinstance(ported, Refused), ported
    assert not isinstance(emit(ported, folder / "mine"), Refused)
    return folder / "mine"


LOADS = """
import sys, torch
from transformers import AutoModelForCausalLM
names, ids = sys.argv[1].split(), torch.arange(3, 12)[None]
for checkpoint in sys.argv[2:]:
    port = AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True)
    source = AutoModelForCausalLM.from_pretrained(checkpoint)
    assert type(port) is not type(source), checkpoint
    assert torch.allclose(port(ids).logits, source(ids).logits, atol=1e-5), checkpoint
    module = sys.modules[type(port).__module__]
    print(*(getattr(module, name) for name in names))
"""


def loaded(names, *checkpoints):
    """The ports out of checkpoints, next to the source, in a process that has seen nothing of them: what they say."""
    cache = str(checkpoints[0].parent / "cache")
    environment = {**os.environ, "HF_MODULES_CACHE": cache, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", LOADS, names, *map(str, checkpoints)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


BESIDE = {
    "from . import parts\nONE = parts.ONE": {"parts": "ONE = 1\n"},
    "import parts as p\nONE = p.ONE": {"parts": "ONE = 1\n"},
    "from .parts import ONE": {"parts": '"""Parts."""\nfrom . import more\n\nONE = more.ONE\n', "more": "ONE = 1\n"},
    "from . parts import ONE": {"parts": "ONE = 1\n"},
    "from .parts \\\n    import ONE": {"parts": "ONE = 1\n"},
    "import os; from .parts import ONE": {"parts": "ONE = 1\n"},
    "if True: from .parts import ONE": {"parts": "ONE = 1\n"},
}


def test_what_is_imported_from_beside_in_any_way_is_found(checkpoint, tmp_path):
    checkpoints = []
    for number, first in enumerate(BESIDE):
        checkpoints.append(shutil.copytree(checkpoint, tmp_path / f"checkpoint{number}"))
        written = export(llama_with(tmp_path / str(number), first, **BESIDE[first]), checkpoints[-1])
        assert {*written.files} == {"modeling_llama_npu.py", "config.json", *(f"{name}.py" for name in BESIDE[first])}
    assert loaded("ONE", *checkpoints) == ["1"] * len(BESIDE)


IMPORTING = {
    "of it": {"parts": "from .modeling_llama import LlamaConfig\n"},
    "of the module": {"parts": "def late():\n    from . import modeling_llama as m\n    return m\n"},
    "at second hand": {"parts": "from .more import A\n", "more": "A = 1\nfrom .modeling_llama import repeat_kv\n"},
    "of its new name": {"parts": "from .modeling_llama_npu import A\n", "modeling_llama_npu": "A = 1\n"},
}


@pytest.mark.parametrize("case", IMPORTING)
def test_a_file_that_would_load_the_source_s_classes_is_refused(checkpoint, tmp_path, case):
    mine = llama_with(tmp_path, "from . import parts", **IMPORTING[case])
    before = contents(checkpoint)
    refused = export(mine, checkpoint, force=True)
    assert refused.diagnostics[0].code == "P162" and contents(checkpoint) == before


def test_what_is_not_utf_8_comes_as_utf_8(checkpoint, tmp_path):
    checkpoints = []
    for before in ("", "#!/usr/bin/python\n"):
        checkpoints.append(shutil.copytree(checkpoint, tmp_path / f"checkpoint{len(before)}"))
        cookie = f"{before}# coding: latin-1\n"
        mine = llama_with(
            tmp_path / str(len(before)), f"{cookie}from .parts import A\nB = 'ü'", parts=f"{cookie}A = 'é'\n"
        )
        export(mine, checkpoints[-1])
        model, parts = ((checkpoints[-1] / name).read_text("utf-8") for name in ("modeling_llama_npu.py", "parts.py"))
        assert parts == f"{before}A = 'é'\n" and "latin-1" not in model
    assert loaded("A B", *checkpoints) == ["é ü"] * 2


BROKEN = {
    "no Python": b"def\n",
    "another encoding": b"# caf\xe9\n",
    "no encoding": b"# coding: nonsense\n",
    "a null": b"x = '\0'\n",
    "not there": None,
    "a file that is not there": b"from .parts import ONE\n",
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_edited_file_that_does_not_parse_is_refused(port, checkpoint, tmp_path, case):
    mine = shutil.copytree(port, tmp_path / "llama2")
    file = mine / "modeling_llama.py"
    file.unlink() if BROKEN[case] is None else file.write_bytes(BROKEN[case])
    before = contents(checkpoint)
    refused = export(mine, checkpoint, edited=True)
    assert refused.diagnostics[0].code == "P142" and contents(checkpoint) == before


@pytest.mark.parametrize("text", ["", '"""Nothing."""\n', "\ufeffONE = 1\n"])
def test_an_edited_file_is_exported_as_it_is(port, checkpoint, tmp_path, text):
    mine = shutil.copytree(port, tmp_path / "llama2")
    (mine / "modeling_llama.py").write_text(text, encoding="utf-8")
    assert not isinstance(export(mine, checkpoint, edited=True), Refused)
    written = (checkpoint / "modeling_llama_npu.py").read_text(encoding="utf-8")
    compile(written, "", "exec")
    assert "import porter.runtime" in written and text.lstrip("\ufeff") in written


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

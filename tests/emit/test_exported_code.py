"""The files of an exported port: all that it imports from beside it, in UTF-8, and none that loads the source."""

import os
import shutil
import subprocess
import sys

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.emit.export import export
from porter.source import load_source
from tests.emit.test_export import contents


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

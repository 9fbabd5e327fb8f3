"""A file that no package holds, from `porter convert` to the commands that compare its port with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from porter.diagnostics import Refused
from porter.source import load_source


@pytest.fixture
def port(porter_here, tmp_path, monkeypatch) -> Path:
    """The port of `code/net.py`, made and named as a user in the folder above would."""
    library = load_source("transformers.models.llama")
    assert not isinstance(library, Refused)
    text = library.text.replace("from ...", "from transformers.")
    text = text.replace("from .configuration_llama", "from transformers.models.llama.configuration_llama")
    file = tmp_path / "here" / "code" / "net.py"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    monkeypatch.chdir(tmp_path / "here")
    done = porter_here("convert", "code/net.py", "--out", "generated_models/net", "--trust-remote-code")
    assert done.code == 0, done.err
    monkeypatch.chdir(tmp_path)
    return Path("here/generated_models/net")


def test_it_is_verified_against_the_file_from_any_folder(porter_here, port):
    assert json.loads((port / "port.json").read_text())["source"]["path"] == "../../code/net.py"
    done = porter_here("verify", port, "--quick", "--trust-remote-code", "-v")
    assert done.code == 0, done.out + done.err
    assert " failed" not in done.out and "fp32 logits" in done.out


@pytest.mark.parametrize("words", [("verify",), ("lower", "--baseline"), ("lower", "--by-rule"), ("bench",)], ids=str)
def test_whatever_compares_says_where_the_missing_file_was(porter_here, port, words):
    file = port.parents[1] / "code" / "net.py"
    file.unlink()
    done = porter_here(*words, port)
    assert (done.code, done.out) == (1, "")
    assert (
        done.err.split("\n", 1)[0] == (f"error[P090]: `{file.resolve()}`, which `{port}` was made from, is not there")
        and f" --> {port}/port.json:" in done.err
    )


def test_a_changed_file_as_json(porter_here, port):
    file = port.parents[1] / "code" / "net.py"
    file.write_text(file.read_text().replace("torch.rsqrt(", "1.0 * torch.rsqrt("))
    (diagnostic,) = json.loads(porter_here("verify", port, "--quick", "--json").out)["diagnostics"]
    assert diagnostic["code"] == "P091" and diagnostic["span"]["path"] == f"{port}/port.json"


def test_bench_says_what_a_source_lacks(porter_here, port):
    file = port.parents[1] / "code" / "net.py"
    file.write_text(f"import a_package_that_is_not_there\n{file.read_text()}")
    assert porter_here("convert", file, "--out", port, "--force", "--trust-remote-code").code == 0
    done = porter_here("bench", port, "--quick")
    assert done.code == 1 and done.err.startswith("error[P092]: ") and "a_package_that_is_not_there" in done.err


BESIDE = {
    "a bare name": ("from configuration_net import NetConfig", "from .configuration_net import NetConfig"),
    "its module": (
        "import configuration_net\nNetConfig = configuration_net.NetConfig",
        "from . import configuration_net\n",
    ),
    "a dot": ("from .configuration_net import NetConfig", "from .configuration_net import NetConfig"),
}


@pytest.mark.parametrize(("said", "wanted"), BESIDE.values(), ids=BESIDE)
def test_files_beside_go_along_and_the_port_computes_what_the_source_does(porter_here, tmp_path, said, wanted):
    library = load_source("transformers.models.llama")
    assert not isinstance(library, Refused)
    text = library.text.replace("from ...", "from transformers.").replace("LlamaConfig", "NetConfig")
    code = tmp_path / "code"
    code.mkdir()
    (code / "modeling_net.py").write_text(text.replace("from .configuration_llama import NetConfig", said))
    (code / "configuration_net.py").write_text(
        "from sizes import WIDTH\nfrom transformers import LlamaConfig\n\n\n"
        "class NetConfig(LlamaConfig):\n    hidden_size: int = WIDTH\n"
    )
    (code / "sizes.py").write_text("WIDTH = 64\n")
    (code / "unrelated.py").write_text("raise SystemExit('imported')\n")
    port = tmp_path / "generated_models" / "net"
    done = porter_here("convert", code / "modeling_net.py", "--out", port)
    assert done.code == 0, done.err
    assert wanted in (port / "modeling_net.py").read_text()
    assert (port / "configuration_net.py").read_text().startswith("from .sizes import WIDTH\n")
    assert {path.name for path in port.glob("*.py")} == {
        *("__init__.py", "run_net.py", "modeling_net.py", "configuration_net.py", "sizes.py")
    }
    assert porter_here("convert", code / "modeling_net.py", "--out", port, "--check").code == 0
    done = porter_here("verify", port, "--quick", "--trust-remote-code", "-v")
    assert done.code == 0, done.out + done.err
    assert " failed" not in done.out and "fp32 logits" in done.out


def test_a_file_beside_among_other_modules_is_said(porter_here, tmp_path):
    library = load_source("transformers.models.llama")
    assert not isinstance(library, Refused)
    text = library.text.replace("from ...", "from transformers.")
    text = text.replace("from .configuration_llama", "import os, sizes\nfrom transformers")
    (tmp_path / "modeling_net.py").write_text(text)
    (tmp_path / "sizes.py").write_text("WIDTH = 64\n")
    done = porter_here("convert", tmp_path / "modeling_net.py", "--out", tmp_path / "net")
    assert done.code == 1 and "P009" in done.err and "statement of its own" in done.err
    assert not (tmp_path / "net").exists()

"""`porter review`, as a user calls it: ports anywhere, edited ones, hostile sources."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from porter.diagnostics import Refused
from porter.source import load_source
from tests.report.conftest import ROOT, read_page

PORT = ROOT / "generated_models" / "llama2"
LLAMA = "transformers.models.llama"


@pytest.fixture
def port(tmp_path) -> Path:
    """A copy of Llama's port, to be spoiled."""
    return Path(shutil.copytree(PORT, tmp_path / "ports" / "llama2", ignore=shutil.ignore_patterns("__pycache__")))


def _in(port: Path, name: str, old: str, new: str) -> None:
    text = (port / name).read_text()
    assert old in text
    (port / name).write_text(text.replace(old, new, 1))


# -- what it takes


def test_a_name_and_a_folder_are_the_same(porter_here, monkeypatch):
    monkeypatch.chdir(ROOT)
    by_folder = porter_here("review", "generated_models/llama2")
    by_name = porter_here("review", "llama2")
    assert by_folder.code == 0 and by_folder.err == ""
    assert by_folder.out == by_name.out
    assert by_folder.out.startswith("llama2  LlamaForCausalLM\n")
    assert "porter verify generated_models/llama2" in by_folder.out or "passed" in by_folder.out


def test_a_mistyped_name_says_which_are_near(porter_here, monkeypatch):
    monkeypatch.chdir(ROOT)
    done = porter_here("review", "lama2")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error[P080]: no ported model `lama2`\n") and "did you mean `llama2`" in done.err


def test_it_needs_neither_torch_nor_transformers(porter_process):
    code = (
        "import sys, porter.cli; code = porter.cli.exit_code(sys.argv[1:]);"
        "assert not {'torch', 'transformers'} & set(sys.modules); sys.exit(code)"
    )
    assert porter_process("review", PORT, python=("-c", code)).code == 0


def test_data(porter_here):
    document = json.loads(porter_here("review", PORT, "--json").out)
    assert document["ok"] and document["name"] == "llama2"
    assert document["counts"]["ported"] == len(document["sites"])
    assert [b["rules"] for b in document["blocks"] if len(b["rules"]) > 1] == [["merge_qkv", "attention"]]
    assert set(document["reasons"]) == {rule["rule"] for rule in json.loads((PORT / "port.json").read_text())["rules"]}


def test_a_page_and_data_exclude_each_other(porter_here, tmp_path):
    assert porter_here("review", PORT, "--html", tmp_path / "x.html", "--json").code == 2
    assert not (tmp_path / "x.html").exists()


# -- the page's file


def test_the_page_is_written_whole_or_not_at_all(porter_here, tmp_path):
    page = tmp_path / "llama.html"
    done = porter_here("review", PORT, "--html", page)
    assert (done.code, done.out, done.err) == (0, f"wrote {page}\n", "")
    assert read_page(page.read_text()).all("article")
    done = porter_here("review", PORT, "--html", tmp_path / "nowhere" / "x.html")
    assert done.code == 1 and done.err.startswith("error[P074]: cannot write")
    assert [path.name for path in tmp_path.iterdir()] == ["llama.html"]


def test_a_page_is_not_written_into_the_port(porter_here, port):
    before = sorted(path.name for path in port.iterdir())
    done = porter_here("review", port, "--html", port / "review.html")
    assert done.code == 1 and done.err.startswith("error[P174]")
    assert sorted(path.name for path in port.iterdir()) == before


# -- ports that are not as porter wrote them


def test_what_was_changed_by_hand_is_said_and_shown(porter_here, port, tmp_path):
    _in(port, "modeling_llama.py", "        return normed, total\n", "        return normed, total * 2\n")
    text = porter_here("review", port).out
    assert "changed by hand since: modeling_llama.py\n" in text
    assert "-         return normed, total\n" in text and "+         return normed, total * 2\n" in text
    document = json.loads(porter_here("review", port, "--json").out)
    assert document["edited"]["files"] == ["modeling_llama.py"]
    page = tmp_path / "x.html"
    porter_here("review", port, "--html", page)
    (shown,) = [a for a in read_page(page.read_text()).all("article") if a.attributes["id"] == "by-hand"]
    assert [code.text for code in shown.all("div", "come")[0].all("code")] == ["        return normed, total * 2"]
    assert [code.text for code in shown.all("div", "gone")[0].all("code")] == ["        return normed, total"]


def test_an_edited_port_without_its_source_says_that_it_cannot_show_it(porter_here, port):
    _in(port, "modeling_llama.py", "        return normed, total\n", "        return normed, total * 2\n")
    _in(port, "port.json", "transformers.models.llama.modeling_llama", "transformers.models.nowhere.modeling_llama")
    done = porter_here("review", port)
    assert done.code == 0
    assert "cannot be shown" in " ".join(done.out.split()) and "total * 2" not in done.out
    assert "not seen again: the port was changed by hand" in " ".join(done.out.split())


def test_another_file_that_was_changed_is_named(porter_here, port):
    (port / "run_llama2.py").write_text("")
    assert "changed by hand since: run_llama2.py\n" in porter_here("review", port).out


@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_diff_that_is_not_porters_is_refused(porter_here, port, how):
    if how == "gone":
        (port / "port.diff").unlink()
    else:
        _in(port, "port.diff", "+        return normed, total\n", "+        return normed, total * 2\n")
    done = porter_here("review", port)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error[P172]: `{port}/port.diff` is not what porter wrote\n")
    assert done.err.count("error[") == 1 and "help: convert it again: porter convert " in done.err


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('"rule": null, "part": "unused"', '"rule": "frame"', "its `changes` name `frame`, which is no rule of it"),
        ('"changes": [', '"changed": [', "it has no `changes`"),
        ('"regenerate": ', '"command": ', "it has no `regenerate`"),
        ('"lines": [51, 52]', '"lines": 51', "its `changes` has "),
        ('"status": "ported"', '"state": "ported"', "its `sites` has "),
    ],
    ids=["frame", "no changes", "no command", "lines", "a site"],
)
def test_an_account_of_an_older_porter_is_one_error(porter_here, port, old, new, fault):
    _in(port, "port.json", old, new)
    done = porter_here("review", port)
    assert (done.code, done.out, done.err.count("error[")) == (1, "", 1)
    assert done.err.startswith(f"error[P171]: `{port}/port.json` does not tell what a review shows\n")
    assert fault in done.err and "older porter" in done.err


def test_no_port_at_all(porter_here, tmp_path):
    done = porter_here("review", tmp_path)
    assert done.code == 1 and done.err.startswith("error[P072]")


def test_rules_that_changed_since_or_are_gone_say_so(porter_here, port):
    sha256 = next(r["sha256"] for r in json.loads((port / "port.json").read_text())["rules"] if r["rule"] == "swiglu")
    _in(port, "port.json", sha256, "0" * 64)
    (port / "port.json").write_text((port / "port.json").read_text().replace('"rotary_half"', '"my_rotary"'))
    document = json.loads(porter_here("review", port, "--json").out)
    assert document["reasons"]["swiglu"]["drift"].startswith("the rule has changed since")
    assert document["reasons"]["my_rotary"]["drift"].startswith("no rule `my_rotary` is known here")
    assert not document["reasons"]["add_norm"]["drift"]


def test_rules_whose_folder_is_gone_leave_the_rest(porter_here, port):
    account = json.loads((port / "port.json").read_text())
    account["options"]["rules"] = ["../../nowhere"]
    (port / "port.json").write_text(json.dumps(account))
    done = porter_here("review", port)
    assert done.code == 0 and done.err.count("note: ") == 1 and "nowhere" in done.err
    assert "one matrix product for two, and one kernel for silu and the product." in done.out


def test_a_site_that_is_left_says_how_to_ask_why(porter_here, tmp_path, monkeypatch):
    library = load_source(LLAMA)
    assert not isinstance(library, Refused)
    monkeypatch.chdir(tmp_path)
    text = library.text.replace("from ...", "from transformers.")
    Path("net.py").write_text(
        text.replace("from .configuration_llama", "from transformers.models.llama.configuration_llama")
    )
    assert porter_here("convert", "net.py", "--without", "swiglu", "--keep", "LlamaRMSNorm.forward").code == 0
    lines = [line.strip() for line in porter_here("review", "generated_models/net").out.split("\n")]
    assert any(line.startswith("LlamaRMSNorm.forward") and " kept" in line for line in lines)
    (asked,) = [line for line in lines if line.startswith("why a site is left: ")]
    command = asked.removeprefix("why a site is left: porter ").split()
    assert command == ["why", "net.py", "LlamaMLP.forward"] and porter_here(*command).code == 0
    assert porter_here("review", "generated_models/net", "--html", "x.html").code == 0
    root = read_page(Path("x.html").read_text())
    rows = {row.all("th")[0].text: row for row in root.all("tbody")[0].all("tr")}
    assert [cell.text for cell in rows["LlamaMLP.forward"].all("span", "status")] == ["left"]
    assert [cell.text for cell in rows["LlamaRMSNorm.forward"].all("span", "status")] == ["kept"]


# -- records


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "Expecting property name"),
        ("[]", "it holds no JSON object"),
        ("{}", "it is not what `porter verify`"),
        ('{"name": "qwen3", "port": []}', "it is of `qwen3`, not of `llama2`"),
        ('{"format": 9, "rows": []}', "its rows have format 9"),
        ('{"name": "llama2", "port": [{}]}', "KeyError"),
    ],
    ids=["no JSON", "a list", "something else", "of another port", "another format", "broken inside"],
)
def test_what_is_no_record_of_the_port_is_refused(porter_here, tmp_path, text, fault):
    (tmp_path / "r.json").write_text(text)
    done = porter_here("review", PORT, "--record", tmp_path / "r.json")
    assert (done.code, done.out, done.err.count("error[P173]")) == (1, "", 1)
    assert fault in done.err


def test_what_lower_printed_is_drawn(porter_here, tmp_path):
    source = {"name": "prefill", "unconverted": None, "layers": [{"Cast": 3, "MatMul": 2}], "kernels_a_layer": 5}
    port = {"name": "prefill", "unconverted": None, "layers": [{"SwiGlu": 1, "MatMul": 1}], "kernels_a_layer": 2}
    lowered = {"name": "llama2", "soc": "Ascend910B3", "torch_npu": "2.13.0", "port": [port], "source": [source]}
    (tmp_path / "l.json").write_text(json.dumps(lowered))
    page = tmp_path / "x.html"
    assert porter_here("review", PORT, "--record", tmp_path / "l.json", "--html", page).code == 0
    wide, narrow = [svg for svg in read_page(page.read_text()).all("svg") if svg.attributes.get("role") == "img"]
    for drawing in (wide, narrow):
        kernels = [rect.all("title")[0].text for rect in drawing.all("rect") if rect.all("title")]
        assert sorted(kernels) == ["Cast"] * 3 + ["MatMul"] * 3 + ["SwiGlu"]
        assert {"source: 5 kernels a layer", "port: 2 kernels a layer"} <= {text.text for text in drawing.all("text")}


# -- sources that would break a page or a terminal


EVIL = "</script></style></code><img src=x onerror=alert(1)> &amp; {{ 7 * 7 }} \N{ZERO WIDTH SPACE}é"


@pytest.fixture
def evil(porter_here, tmp_path, monkeypatch) -> Path:
    """The port of a file whose comments are markup and control characters, made as a user does."""
    library = load_source(LLAMA)
    assert not isinstance(library, Refused)
    text = library.text.replace("from ...", "from transformers.")
    text = text.replace("from .configuration_llama", "from transformers.models.llama.configuration_llama")
    line = "        variance = hidden_states.pow(2).mean(-1, keepdim=True)\n"
    assert line in text
    text = text.replace(line, f"        # {EVIL} \x1b[31mred\x07\n{line}", 1)
    folder = tmp_path / "<i>check & point"
    folder.mkdir()
    (folder / "modeling_evil.py").write_text(text)
    done = porter_here("convert", folder / "modeling_evil.py", "--out", tmp_path / "out" / "evil")
    assert done.code == 0, done.err
    return tmp_path / "out" / "evil"


def test_markup_in_a_source_is_text_on_the_page(porter_here, evil, tmp_path):
    page = tmp_path / "x.html"
    assert porter_here("review", evil, "--html", page).code == 0
    root = read_page(page.read_text())
    assert not root.all("img") and not root.all("i") and len(root.all("script")) == 1
    assert any(EVIL in code.text for code in root.all("code"))
    assert any("<i>check & point" in term.text for term in root.all("dd"))


def test_control_characters_of_a_source_do_not_reach_the_terminal(porter_here, evil):
    text = porter_here("review", evil).out
    assert "\x1b" not in text and "\x07" not in text and "\\x1b[31mred\\x07" in text


def _as(text: str, how: str) -> bytes:
    if how == "CR LF":
        return text.replace("\n", "\r\n").encode()
    if how == "latin-1":
        return f"# -*- coding: latin-1 -*-\n# \xe9\n{text}".encode("latin-1")
    return text.rstrip("\n").encode()


@pytest.mark.parametrize("how", ["CR LF", "latin-1", "no newline at its end"])
def test_other_line_ends_and_encodings(porter_here, tmp_path, how):
    library = load_source(LLAMA)
    assert not isinstance(library, Refused)
    text = library.text.replace("from ...", "from transformers.")
    text = text.replace("from .configuration_llama", "from transformers.models.llama.configuration_llama")
    (tmp_path / "net.py").write_bytes(_as(text, how))
    assert porter_here("convert", tmp_path / "net.py", "--out", tmp_path / "out" / "net").code == 0
    page = tmp_path / "x.html"
    assert porter_here("review", tmp_path / "out" / "net", "--html", page).code == 0
    root = read_page(page.read_text())
    assert "confirmed: the diff leads from the port back" in root.all("dl", "facts")[0].text
    shown = {code.text for line in root.all("div", "new") for code in line.all("code")}
    port = next((tmp_path / "out" / "net").glob("modeling_*.py"))
    lines = port.read_bytes().decode("latin-1" if how == "latin-1" else "utf-8").replace("\r\n", "\n").split("\n")
    assert len(shown) > 100 and shown <= set(lines)


# -- convert --diff

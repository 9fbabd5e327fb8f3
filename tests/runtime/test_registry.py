"""Model classes by name, from a folder of ported models."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from porter.emit.templated import REGISTRY_FIRST_LINE
from porter.runtime import CannotLoad, UnknownModel, injection_policy, load_model_class, registered
from porter.runtime.registry import beside_porter, default_root

TABLES = """
_MODELS = {
    "llama2": ("modeling_llama", "LlamaForCausalLM"),
    "qwen3": ("modeling_qwen3", "Qwen3ForCausalLM"),
}
_MODEL_INJECTION_POLICY = {
    "llama2": ("modeling_llama", "LlamaDecoderLayer", ("self_attn.o_proj", "mlp.down_proj")),
}
raise RuntimeError("a registry is read, not run")
"""


def folder(tmp_path, answer, file="registry.py"):
    (tmp_path / "llama2").mkdir(parents=True)
    (tmp_path / file).write_text(TABLES)
    (tmp_path / "llama2" / "helper.py").write_text(f"ANSWER = {answer}\n")
    (tmp_path / "llama2" / "modeling_llama.py").write_text(
        "from .helper import ANSWER\n\n\nclass LlamaForCausalLM:\n    answer = ANSWER\n"
    )
    return tmp_path


@pytest.mark.parametrize("file", ["registry.py", "__init__.py"])
def test_a_class_loads_from_its_folder(tmp_path, file):
    root = folder(tmp_path, 1, file)
    assert registered(root) == ("llama2", "qwen3")
    assert load_model_class("llama2", root).answer == 1
    assert load_model_class("llama2", str(root)) is load_model_class("llama2", root)
    assert injection_policy("llama2", root)[2] == ("self_attn.o_proj", "mlp.down_proj")


def test_two_folders_hold_a_model_of_the_same_name(tmp_path):
    one, two = (load_model_class("llama2", folder(tmp_path / str(number), number)) for number in (1, 2))
    assert (one.answer, two.answer) == (1, 2)
    assert str(one) != str(two) and one.__module__ in sys.modules


def test_an_unknown_name_lists_the_known_ones_and_the_closest(tmp_path):
    said = rf"no model 'lama2' in {tmp_path}: registered are llama2, qwen3; did you mean 'llama2'\?"
    with pytest.raises(UnknownModel, match=said):
        load_model_class("lama2", folder(tmp_path, 1))
    with pytest.raises(KeyError, match=r"registered are llama2$"):
        injection_policy("zzz", tmp_path)


def test_a_folder_without_models_has_none(tmp_path):
    assert registered(tmp_path) == ()
    with pytest.raises(UnknownModel, match="registered are none"):
        load_model_class("llama2", tmp_path)


def test_the_current_folders_models_come_before_those_beside_porter(tmp_path, monkeypatch):
    for number in (1, 2):
        folder(tmp_path / str(number) / "generated_models", number)
    found = []
    for number in (1, 2, 1):  # a class stays that of its folder, wherever the process goes
        monkeypatch.chdir(tmp_path / str(number))
        assert default_root() == tmp_path / str(number) / "generated_models"
        assert registered() == ("llama2", "qwen3")
        assert injection_policy("llama2")[1] == "LlamaDecoderLayer"
        found.append(load_model_class("llama2"))
    assert [cls.answer for cls in found] == [1, 2, 1] and found[0] is found[2]
    with pytest.raises(UnknownModel, match=rf"no model 'x' in {default_root()}: "):
        load_model_class("x")


@pytest.mark.parametrize("text", [None, "", "x = 1\n", "_MODELS = {}\n", "_MODELS = made()\n", "def (:\n"])
def test_a_folder_of_that_name_without_ports_is_not_taken(tmp_path, monkeypatch, text):
    if text is not None:
        (tmp_path / "generated_models").mkdir()
        (tmp_path / "generated_models" / "__init__.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert default_root() == beside_porter()
    assert "llama2" in registered()


def test_a_current_folder_that_is_gone_holds_no_models(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert default_root() == beside_porter()


# --- damaged, or not in step


LLAMA2 = Path(__file__).parents[2] / "generated_models" / "llama2"
DAMAGED = {
    "a number": b"_MODELS = 5\n",
    "a list": b'_MODELS = ["llama2"]\n',
    "names that are none": b"_MODELS = {1: 2}\n",
    "a call": b"_MODELS = dict(made())\n",
    "annotated and nothing more": b"_MODELS: dict\n",
    "a syntax error": b"def (:\n",
    "no text": b"\xff\xfe\x00",
    "a null character": b"_MODELS = {}\0\n",
    "deep": b"_MODELS = " + b"(" * 10_000,
    "a deep sum": b"_MODELS = " + b"-" * 100_000 + b"1",
    "empty": b"",
    "cut short": (LLAMA2.parent / "__init__.py").read_bytes()[:-30],
    "of porter, and empty": f"{REGISTRY_FIRST_LINE}\n{'x' * 3}".encode(),
}


@pytest.fixture
def ports(tmp_path):
    """A folder with one of the real ports, and the registry of all."""
    others = [path.parent.name for path in LLAMA2.parent.glob("*/port.json") if path.parent != LLAMA2]
    shutil.copytree(LLAMA2.parent, tmp_path / "ports", ignore=shutil.ignore_patterns("__pycache__", *others))
    return tmp_path / "ports"


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("file", ["registry.py", "__init__.py"])
def test_ports_speak_for_themselves_where_the_registry_is_damaged(ports, file, data):
    (ports / file).write_bytes(data)
    assert registered(ports) == ("llama2",)
    assert injection_policy("llama2", ports)[1] == "LlamaDecoderLayer"
    assert load_model_class("llama2", ports).__name__ == "LlamaForCausalLM"
    with pytest.raises(UnknownModel, match=r"registered are llama2; did you mean 'llama2'\?"):
        load_model_class("lama2", ports)


@pytest.mark.parametrize("data", [data for name, data in DAMAGED.items() if "empty" not in name], ids=repr)
def test_a_damaged_registry_of_ports_made_by_hand_is_one_message(tmp_path, data):
    (folder(tmp_path, 1) / "registry.py").write_bytes(data)
    for ask in (registered, lambda root: load_model_class("llama2", root), lambda root: injection_policy("x", root)):
        with pytest.raises(CannotLoad, match=rf"the registry `{tmp_path}/registry.py` cannot be read") as raised:
            ask(tmp_path)
        assert raised.value.diagnostic.code == "P073" and raised.value.diagnostic.help


@pytest.mark.parametrize(
    "entry", [5, "modeling_llama", ("a",), ("a", 5), ("a", "b", "c"), None, {}, ("", "A")], ids=str
)
def test_an_entry_that_is_none_stands_in_nobodys_way(tmp_path, entry):
    models = {"llama2": ("modeling_llama", "LlamaForCausalLM"), "bad": entry}
    (folder(tmp_path, 1) / "registry.py").write_text(f"_MODELS = {models!r}\n_MODEL_INJECTION_POLICY = {{'bad': 5}}\n")
    assert load_model_class("llama2", tmp_path).answer == 1
    for ask in (load_model_class, injection_policy):
        with pytest.raises(CannotLoad, match="of `bad`, not"):
            ask("bad", tmp_path)


MODEL_FILES = {
    "gone": (None, "is not there"),
    "without the class": ("x = 1\n", "has no class `LlamaForCausalLM`"),
    "with a number of that name": ("LlamaForCausalLM = 5\n", "has no class `LlamaForCausalLM`"),
    "no Python": ("def (:\n", "does not load; SyntaxError"),
    "importing what is not there": ("import a_package_that_is_not_there\n", "No module named"),
    "raising": ("raise RuntimeError('no card')\n", "RuntimeError: no card"),
    "leaving": ("raise SystemExit(0)\n", "SystemExit"),
}


@pytest.mark.parametrize(("text", "says"), MODEL_FILES.values(), ids=MODEL_FILES)
def test_a_model_file_that_is_damaged_is_one_message(tmp_path, text, says):
    file = folder(tmp_path, 1) / "llama2" / "modeling_llama.py"
    file.unlink()
    if text is not None:
        file.write_text(text)
    with pytest.raises(CannotLoad, match=says) as raised:
        load_model_class("llama2", tmp_path)
    assert str(file) in raised.value.diagnostic.message and raised.value.diagnostic.help
    file.write_text(
        "from .helper import ANSWER\n\n\nclass LlamaForCausalLM:\n    answer = ANSWER\n"
    )  # mended, it loads, in the same process
    assert load_model_class("llama2", tmp_path).answer == 1


def test_a_folder_that_is_gone_is_not_listed_and_one_that_was_added_is(ports):
    shutil.copytree(ports / "llama2", ports / "other")
    account = json.loads((ports / "llama2" / "port.json").read_text())
    (ports / "other" / "port.json").write_text(json.dumps({**account, "name": "other"}))
    shutil.rmtree(ports / "llama2")
    assert registered(ports) == ("other",)
    assert load_model_class("other", ports).__name__ == "LlamaForCausalLM"


def test_a_damaged_account_of_one_port_is_its_own_affair(ports):
    shutil.copytree(ports / "llama2", ports / "other")
    (ports / "other" / "port.json").write_text("{")
    assert load_model_class("llama2", ports).__name__ == "LlamaForCausalLM"
    (ports / "llama2" / "port.json").write_text("{")
    with pytest.raises(CannotLoad, match="is not the account of a port"):
        load_model_class("llama2", ports)

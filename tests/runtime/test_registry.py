"""Model classes by name, from a folder of ported models."""

import sys

import pytest

from porter.runtime import UnknownModel, injection_policy, load_model_class, registered
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

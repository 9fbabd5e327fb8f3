"""Functions that a source takes from another file: followed there, by path, and compared as if they stood in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.convert import convert
from porter.source import Source, load_source
from tests.engine.relied import ATTENTION, EAGER, MINE, REPEAT, SCORES, left
from tests.engine.sources import accepted, port, rules, rules_of, text_of, varied, why
from tests.engine.variations import PRETRAINED, before

AWAY = [(EAGER, "def unused_attention_forward(\n"), (REPEAT, "def unused_repeat_kv(hidden_states, n_rep):\n")]


def taken(statement: str) -> list[tuple[str, str]]:
    return [*AWAY, before(ATTENTION, f"{statement}\n\n\n")]


@pytest.mark.parametrize(
    "statement",
    [
        "from ..mistral.modeling_mistral import eager_attention_forward",
        "from transformers.models.qwen2.modeling_qwen2 import eager_attention_forward",
        "from transformers.models.llama.modeling_llama import eager_attention_forward, repeat_kv",
    ],
)
def test_a_function_of_another_model_is_followed_to_its_definition(statement):
    ported = port(varied(*taken(statement)))
    assert "attention" in rules_of(ported), why(ported)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("gpt_oss", "sinks"),
        ("gpt_neox", "repeat_kv"),
        ("bart", "scaling"),
        ("llama.no_such_module", "is not there"),
    ],
)
def test_another_function_of_another_model_is_left(model, says):
    place = model if "." in model else f"{model}.modeling_{model}"
    left("attention", says, *taken(f"from ..{place} import eager_attention_forward"))


def beside(folder: Path, text: str, **files: str) -> Source:
    """A free-standing source with files beside it."""
    names = ("cache_utils", "masking_utils", "modeling_utils", "activations", "modeling_rope_utils")
    names += ("modeling_outputs", "modeling_layers", "processing_utils", "utils", "integrations", "generation")
    for name in names:
        text = text.replace(f"from ...{name}", f"from transformers.{name}")
    text = text.replace("from .configuration_llama", "from transformers.models.llama.configuration_llama")
    (folder / "modeling_mine.py").write_text(text)
    for name, code in files.items():
        (folder / f"{name}.py").write_text(code)
    source = load_source(str(folder / "modeling_mine.py"))
    assert isinstance(source, Source), source
    return source


def functions_of_llama(*changes: tuple[str, str]) -> str:
    text = varied(*changes)
    start, end = text.index(REPEAT), text.index(ATTENTION)
    return f"import torch\nfrom torch import nn\n\n\n{text[start:end]}".replace(": Unpack[TransformersKwargs]", "")


FROM_BESIDE = taken("from .functions import eager_attention_forward")


def ported_beside(folder: Path, functions: str, *changes: tuple[str, str], **files: str):
    source = beside(folder, varied(*(changes or FROM_BESIDE)), functions=functions, **files)
    return accepted(convert(source, name="mine", rules=rules()))


def test_a_function_of_a_file_beside_is_followed(tmp_path):
    ported = ported_beside(tmp_path, functions_of_llama())
    assert "attention" in rules_of(ported), why(ported)


def test_another_function_of_a_file_beside_is_left_with_its_place_there(tmp_path):
    changed = (SCORES, SCORES.replace("* scaling", "* scaling / 30.0"))
    ported = ported_beside(tmp_path, functions_of_llama(changed))
    assert "attention" not in rules_of(ported)
    assert "`eager_attention_forward` (functions.py:" in why(ported) and "30.0" in why(ported)


def test_a_function_that_a_file_beside_takes_from_another_is_followed_further(tmp_path):
    files = {"more": functions_of_llama()}
    ported = ported_beside(tmp_path, "from .more import eager_attention_forward\n", **files)
    assert "attention" in rules_of(ported), why(ported)
    files = {"more": functions_of_llama(("torch.float32).to(query.dtype)", "torch.float64).to(query.dtype)"))}
    ported = ported_beside(tmp_path, "from .more import eager_attention_forward\n", **files)
    assert "attention" not in rules_of(ported) and "float64" in why(ported)


@pytest.mark.parametrize(
    "patch",
    [
        'ALL_ATTENTION_FUNCTIONS["sdpa"] = mine',
        'ALL_ATTENTION_FUNCTIONS.register("sdpa", mine)',
        "torch.nn.functional.softmax = mine",
    ],
)
def test_a_file_beside_that_changes_a_table_keeps_the_rule_away(tmp_path, patch):
    table = "import torch\nfrom transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS\n\n\n"
    imported = before(PRETRAINED, "from .functions import mine\n\n\n")
    ported = ported_beside(tmp_path, f"{table}{MINE}{patch}\n", imported)
    assert "attention" not in rules_of(ported)
    assert "functions.py:" in why(ported) and patch in why(ported)


def test_the_same_source_without_a_package_takes_the_rule(tmp_path):
    source = beside(tmp_path, text_of("llama"))
    assert "attention" in rules_of(accepted(convert(source, name="mine", rules=rules())))

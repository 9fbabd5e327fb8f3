"""Defaults of the configuration are found wherever its import leads, read and never imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.anatomy import defaults_of
from porter.convert import convert
from porter.diagnostics import Refused
from porter.source import load_source
from porter.tree import parse
from tests.engine.sources import accepted, text_of

FULL = "transformers.models.llama.configuration_llama"
OWN = "from .configuration_llama import LlamaConfig\n"
STANDING = text_of("llama").replace("from ...", "from transformers.")
assert OWN in STANDING


def with_import(statement: str, name: str = "LlamaConfig") -> str:
    """Llama's file, free of its package, with another import of its configuration."""
    rest = STANDING.replace(OWN, "").replace("LlamaConfig", name)
    return rest.replace("import torch\n", f"import torch\n{statement}\n", 1)


def is_silu(where: Path, text: str) -> bool:
    """Whether the default that swiglu asks for is known, and is what it asks for."""
    (where / "modeling_own.py").write_text(text)
    source = load_source(str(where / "modeling_own.py"))
    assert not isinstance(source, Refused)
    tree = parse(source.text, source.display)
    assert not isinstance(tree, Refused)
    defaults = defaults_of(source.configuration, tree, "LlamaForCausalLM", source.path)
    assert not isinstance(defaults, Refused)
    return defaults.values.get("hidden_act") == "silu"


def test_a_port_has_the_rule_that_asks_for_a_default(tmp_path):
    (tmp_path / "modeling_own.py").write_text(IMPORTS["from the library"])
    source = load_source(str(tmp_path))
    assert not isinstance(source, Refused)
    assert "self.gate_up(x)" in accepted(convert(source, name="own")).code


IMPORTS = {
    "from its file": with_import(f"from {FULL} import LlamaConfig"),
    "from its package": with_import("from transformers.models.llama import LlamaConfig"),
    "from the library": with_import("from transformers import LlamaConfig"),
    "by another name": with_import("from transformers import LlamaConfig as C", "C"),
    "by its module": with_import("from transformers.models.llama import configuration_llama as c", "c.LlamaConfig"),
    "by the library's name": with_import("import transformers", "transformers.LlamaConfig"),
    "by the full name": with_import(f"import {FULL}", f"{FULL}.LlamaConfig"),
    "under a condition": with_import(f"try:\n    from {FULL} import LlamaConfig\nexcept ImportError:\n    pass"),
    "in quotes": with_import(f"from {FULL} import LlamaConfig").replace(": LlamaConfig", ': "LlamaConfig"'),
    "in quotes, by its module": with_import("import transformers").replace("LlamaConfig", "'transformers.LlamaConfig'"),
    "by an annotated class": with_import(f"from {FULL} import LlamaConfig")
    .replace("    config: LlamaConfig\n", "    config_class: type = LlamaConfig\n")
    .replace("config: LlamaConfig", "config"),
}


def test_quotes_around_no_name_are_no_class(tmp_path):
    assert not is_silu(tmp_path, IMPORTS["in quotes"].replace('"LlamaConfig"', '"a model\'s LlamaConfig"'))


@pytest.mark.parametrize("text", IMPORTS.values(), ids=IMPORTS)
def test_an_import_leads_to_the_defaults(tmp_path, text):
    assert is_silu(tmp_path, text)


@pytest.mark.parametrize(
    "statement", ["from nowhere import LlamaConfig", "from transformers import NoConfig as LlamaConfig"]
)
def test_what_is_not_found_is_not_guessed(tmp_path, statement):
    assert not is_silu(tmp_path, with_import(statement))


BESIDE = {
    "relative": "from .configuration_own import OwnConfig",
    "by its bare name": "from configuration_own import OwnConfig",
    "in a file of another name": "from .settings import OwnConfig",
}
HEAD = f"from {FULL} import LlamaConfig\n\n\n"


def derived(body: str) -> str:
    return f"{HEAD}class OwnConfig(LlamaConfig):\n{body}"


MADE = """    def __init__(self, hidden_act="{}", **kwargs):
        super().__init__(hidden_act=hidden_act, **kwargs)
"""
INHERITED = {
    "all of it": (derived("    pass\n"), True),
    "with another field": (derived("    rope: int = 3\n"), True),
    "with another field, by __init__": (
        derived("    def __init__(self, rope=3, **kwargs):\n        super().__init__(**kwargs)\n"),
        True,
    ),
    "another activation": (derived('    hidden_act: str = "gelu"\n'), False),
    "another activation, by __init__": (
        derived(MADE.format("gelu")),
        False,
    ),
    "the same activation, by __init__": (
        derived(MADE.format("silu")),
        True,
    ),
    "another activation, handed on": (
        derived('    def __init__(self, **kwargs):\n        super().__init__(hidden_act="gelu", **kwargs)\n'),
        False,
    ),
    "an activation that is computed": (derived("    hidden_act: str = choose()\n"), False),
    "from a class of the file": (
        f"{HEAD}class Mid(LlamaConfig):\n    pass\n\n\nclass OwnConfig(Mid):\n    pass\n",
        True,
    ),
    "from the library's own": (
        "from transformers import PretrainedConfig\n\n\nclass OwnConfig(PretrainedConfig):\n    hidden_act = 'silu'\n",
        True,
    ),
    "of nobody": ("from nowhere import C\n\n\nclass OwnConfig(C):\n    pass\n", False),
}  # fmt: skip


@pytest.mark.parametrize("statement", BESIDE.values(), ids=BESIDE)
@pytest.mark.parametrize("name", ["all of it", "another activation"])
def test_a_file_beside_is_followed(tmp_path, statement, name):
    text, expected = INHERITED[name]
    module = statement.split()[1].lstrip(".")
    (tmp_path / f"{module}.py").write_text(text)
    assert is_silu(tmp_path, with_import(statement, "OwnConfig")) is expected


@pytest.mark.parametrize(("text", "expected"), INHERITED.values(), ids=INHERITED)
def test_a_derived_configuration_inherits(tmp_path, text, expected):
    (tmp_path / "configuration_own.py").write_text(text)
    assert is_silu(tmp_path, with_import(BESIDE["relative"], "OwnConfig")) is expected


@pytest.mark.parametrize(("text", "expected"), INHERITED.values(), ids=INHERITED)
def test_a_configuration_may_stand_in_the_modeling_file(tmp_path, text, expected):
    assert is_silu(tmp_path, with_import(text, "OwnConfig")) is expected


def test_a_package_is_not_run(tmp_path, monkeypatch):
    site = tmp_path / "site" / "fakelib" / "models"
    site.mkdir(parents=True)
    for folder in (site, site.parent):
        (folder / "__init__.py").write_text("raise SystemExit('imported')\n")
    (site / "configuration_fake.py").write_text(INHERITED["from the library's own"][0])
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "code").mkdir()
    for statement in ("from fakelib import OwnConfig", "from fakelib.models.configuration_fake import OwnConfig"):
        assert is_silu(tmp_path / "code", with_import(statement, "OwnConfig"))

"""What counts as the model: auto_map, the name, transformers' own table, the class that generates; in this order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from porter.anatomy import entry, read_anatomy
from porter.convert import convert, inspect
from porter.diagnostics import Refused
from porter.report.diagnostic import render
from porter.source import load_source
from porter.tree import parse
from tests.engine.sources import accepted, text_of, varied

CAUSAL = "LlamaForCausalLM"
HEAD = "@auto_docstring\nclass LlamaForCausalLM("
OWN = "OwnForCausalLM"
ABSOLUTE = text_of("llama").replace("from ...", "from transformers.")
STANDING = ABSOLUTE.replace("from .", "from transformers.models.llama.")
OTHER = "class OtherForCausalLM(LlamaPreTrainedModel):\n    pass\n\n\n"
TWO = STANDING.replace(HEAD, OTHER + HEAD).replace(CAUSAL, OWN)
DICT = "from typing import TypedDict\n\n\n"
TYPED = {
    "of the library's": "class KwargsForCausalLM(FlashAttentionKwargs, LossKwargs): ...",
    "of one of the library's": "class KwargsForCausalLM(TransformersKwargs):\n    pass",
    "of Python's": f"{DICT}class KwargsForCausalLM(TypedDict, total=False):\n    labels: int",
    "of both": f"{DICT}class Base(TypedDict): ...\n\n\nclass KwargsForCausalLM(Base): ...",
}
IMPORTS = """from transformers.modeling_flash_attention_utils import FlashAttentionKwargs
from transformers.utils import LossKwargs


"""


def entry_of(text: str, named: str | None = None) -> str:
    """The entry class of a text, or the code of why there is none."""
    tree = parse(text, "own")
    assert not isinstance(tree, Refused)
    anatomy = read_anatomy(tree, named)
    return anatomy.diagnostics[0].code if isinstance(anatomy, Refused) else anatomy.causal


def folder_of(text: str, where: Path, auto_map: dict[str, object] | None) -> Path:
    """A checkpoint with its own modeling file."""
    (where / "modeling_own.py").write_text(text)
    if auto_map is not None:
        (where / "config.json").write_text(json.dumps({"auto_map": auto_map}))
    return where


def class_of(spec: object) -> str:
    source = load_source(str(spec))
    assert not isinstance(source, Refused), render(source.diagnostics[0])
    return entry_of(source.text, source.entry)


def refusal(spec: object) -> str:
    source = load_source(str(spec))
    assert not isinstance(source, Refused)
    outcome = convert(source, name="own")
    assert isinstance(outcome, Refused)
    return render(outcome.diagnostics[0])


@pytest.mark.parametrize("typed", TYPED.values(), ids=TYPED)
def test_a_typed_dict_is_no_model(typed):
    assert entry_of(varied((HEAD, f"{IMPORTS}{typed}\n\n\n{HEAD}"))) == CAUSAL


def test_two_models_are_still_two():
    assert entry_of(TWO) == "P021"


def test_of_two_models_the_one_of_transformers_table_is_meant():
    assert entry_of(TWO.replace(OWN, CAUSAL)) == CAUSAL


@pytest.mark.parametrize("name", ["QWenLMHeadModel", "ChatGLMForConditionalGeneration", "Decoder"])
@pytest.mark.parametrize("reference", ["modeling_own.{}", "somebody/repo--modeling_own.{}"])
@pytest.mark.parametrize("spec", ["folder", "file"])
def test_auto_map_names_the_model(tmp_path, name, reference, spec):
    auto_map = {"AutoConfig": "configuration_own.C", "AutoModelForCausalLM": reference.format(name)}
    folder = folder_of(STANDING.replace(CAUSAL, name), tmp_path, auto_map)
    assert class_of(folder if spec == "folder" else folder / "modeling_own.py") == name


def test_auto_map_chooses_of_two(tmp_path):
    assert "P021" in refusal(folder_of(TWO, tmp_path, None))
    assert class_of(folder_of(TWO, tmp_path, {"AutoModelForCausalLM": f"modeling_own.{OWN}"})) == OWN


def test_a_class_that_auto_map_names_and_the_file_lacks(tmp_path):
    said = refusal(folder_of(STANDING, tmp_path, {"AutoModelForCausalLM": "modeling_own.LlamaForCausalLm"}))
    assert "P023" in said and "did you mean `LlamaForCausalLM`?" in said


@pytest.mark.parametrize("odd", [3, ["modeling_own.X"], "X", "modeling_own.", "other.X", "modeling_own.a b"])
def test_an_auto_map_that_says_nothing_of_the_file_is_passed_over(tmp_path, odd):
    assert class_of(folder_of(STANDING, tmp_path, {"AutoModelForCausalLM": odd}) / "modeling_own.py") == CAUSAL


MAPPED = {
    "gpt2": "GPT2LMHeadModel",
    "openai": "OpenAIGPTLMHeadModel",
    "ctrl": "CTRLLMHeadModel",
    "xlnet": "XLNetLMHeadModel",
    "bert": "BertLMHeadModel",
    "bert_generation": "BertGenerationDecoder",
}


@pytest.mark.parametrize("model", MAPPED)
def test_transformers_own_table_names_the_model(model):
    source = load_source(f"transformers.models.{model}")
    assert not isinstance(source, Refused)
    seen = inspect(source)
    assert not isinstance(seen, Refused) and seen.plan.anatomy.causal == MAPPED[model]
    assert {"attention", "unknown"} & {site.kind for site in seen.plan.anatomy.sites}


def test_a_model_of_another_name_is_ported_by_the_same_rules(tmp_path):
    auto_map = {"AutoModelForCausalLM": "modeling_own.QWenLMHeadModel"}
    source = load_source(str(folder_of(STANDING.replace(CAUSAL, "QWenLMHeadModel"), tmp_path, auto_map)))
    assert not isinstance(source, Refused)
    ported = accepted(convert(source, name="own"))
    assert ported.causal_class == "QWenLMHeadModel" and len(ported.rules) == 8


def test_the_table_names_it_in_a_copy_too(tmp_path):
    text = STANDING.replace(CAUSAL, "GPT2LMHeadModel").replace("class LlamaForSequence", "class GPT2DoubleHeads")
    assert class_of(folder_of(text, tmp_path, None)) == "GPT2LMHeadModel"


def test_the_table_is_not_read_where_the_name_says_it(monkeypatch):
    monkeypatch.setattr(entry, "causal_names", lambda: pytest.fail("the table was read"))
    assert entry_of(text_of("llama")) == CAUSAL


def test_else_the_model_is_what_generates(tmp_path):
    assert class_of(folder_of(STANDING.replace(CAUSAL, "OwnLMHeadModel"), tmp_path, None)) == "OwnLMHeadModel"


@pytest.mark.parametrize("model", ["t5", "vit", "llava"])
def test_a_file_of_transformers_that_its_table_does_not_have_is_no_model(model):
    source = load_source(f"transformers.models.{model}")
    assert not isinstance(source, Refused)
    outcome = convert(source, name=model)
    assert isinstance(outcome, Refused) and outcome.diagnostics[0].code == "P020"


LIB = "transformers.models.llama.modeling_llama"
BASES = {
    "another module's by its own name": f"import {LIB} as lib\n\n\nclass OwnForCausalLM(lib.OwnForCausalLM): ...",
    "an import": f"from {LIB} import OwnForCausalLM\n\n\nclass OwnForCausalLM(OwnForCausalLM): ...",
    "itself": "class OwnForCausalLM(OwnForCausalLM): ...",
    "a class that is derived from it": "class Own(OwnForCausalLM): ...\n\n\nclass OwnForCausalLM(Own): ...",
    "another name for itself": "OwnForCausalLM = Own\nOwn = OwnForCausalLM\n\n\nclass OwnForCausalLM(Own): ...",
    "a call": "class OwnForCausalLM(bases()[0]): ...",
    "nothing": "class OwnForCausalLM: ...",
}


@pytest.mark.parametrize("text", BASES.values(), ids=BASES)
@pytest.mark.parametrize("ask", [convert, inspect])
def test_a_model_whose_bases_lead_nowhere_is_refused_at_its_class(tmp_path, text, ask):
    (tmp_path / "modeling_own.py").write_text(f"{text}\n")
    source = load_source(str(tmp_path / "modeling_own.py"))
    assert not isinstance(source, Refused)
    outcome = ask(source, name="own") if ask is convert else ask(source)
    assert isinstance(outcome, Refused)
    (diagnostic,) = outcome.diagnostics
    assert (diagnostic.code, diagnostic.span.line) == ("P022", text.count("\n") + 1)

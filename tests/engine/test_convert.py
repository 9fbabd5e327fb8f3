"""A conversion as a whole: options, refusals, what is left alone, many models, the same bytes each time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from porter.convert import convert, inspect
from porter.diagnostics import Refused
from porter.report.diagnostic import render
from porter.rewrite import Ported
from porter.source import load_source
from tests.engine.sources import accepted, convert_text, port_of, rules_of, source_of, text_of, varied

DIVERSE = (
    "apertus",
    "bloom",
    "csm",
    "deepseek_v3",
    "gemma",
    "glm4",
    "gpt_neox",
    "mamba",
    "mixtral",
    "nemotron_h",
    "phi3",
    "t5gemma",
)


@pytest.mark.parametrize("model", DIVERSE)
def test_a_model_of_another_kind_is_converted_or_refused_with_a_place(model):
    outcome = convert(source_of(model), name=model)
    if isinstance(outcome, Refused):
        assert all(d.code.startswith("P") and d.help for d in outcome.diagnostics)
        assert outcome.diagnostics[0].span is not None
    else:
        compile(outcome.code, model, "exec")
        assert outcome.changes and all(site.reason for site in outcome.sites if site.status != "ported")


def refusal(outcome: Ported | Refused) -> str:
    assert isinstance(outcome, Refused)
    return "\n".join(render(diagnostic) for diagnostic in outcome.diagnostics)


def test_a_syntax_error_is_shown_in_its_line():
    refused = convert_text(text_of("llama").replace("class LlamaMLP(nn.Module):", "class LlamaMLP(nn.Module:"))
    assert isinstance(refused, Refused)
    (diagnostic,) = refused.diagnostics
    assert diagnostic.code == "P011" and diagnostic.span is not None
    assert text_of("llama").splitlines()[diagnostic.span.line - 1].startswith("class LlamaMLP")


def test_a_file_without_a_model_is_refused():
    assert "P020" in refusal(convert_text("import torch\n\n\nclass Config: ...\n"))


def test_the_table_of_models_is_no_model():
    assert "AutoModelForCausalLM" in refusal(convert(source_of("auto.modeling_auto"), name="auto"))


def test_a_file_of_comments_is_refused():
    assert isinstance(convert_text("# nothing\n"), Refused)


KEEP = {
    "a method": ("LlamaMLP.forward", "swiglu"),
    "a class": ("LlamaMLP", "swiglu"),
    "a function": ("apply_rotary_pos_emb", "rotary_half"),
    "one place of a rule of several": ("LlamaModel", "attention"),
    "a norm that another rule needs": ("LlamaRMSNorm", "add_norm"),
}


@pytest.mark.parametrize(("name", "rule"), KEEP.values(), ids=KEEP)
def test_what_is_kept_is_as_the_source_has_it_and_recorded(name, rule):
    ported = accepted(convert_text(text_of("llama"), keep=(name,)))
    assert rule not in rules_of(ported)
    kept = [site for site in ported.sites if site.status == "kept"]
    assert kept and all(site.name.startswith(name) and not site.rules for site in kept)
    assert ported.options["keep"] == [name]


def test_a_rule_left_out_is_not_used_and_recorded():
    ported = accepted(convert_text(text_of("llama"), without=("swiglu",)))
    assert "swiglu" not in rules_of(ported) and ported.options["without"] == ["swiglu"]


@pytest.mark.parametrize(
    ("options", "code", "suggestion"),
    [
        pytest.param({"keep": ("LlamaMPL",)}, "P041", "`LlamaMLP`", id="a site to keep"),
        pytest.param({"keep": ("LlamaMLP.foward",)}, "P041", "`LlamaMLP.forward`", id="a method to keep"),
        pytest.param({"without": ("swigul",)}, "P042", "`swiglu`", id="a rule to leave out"),
        pytest.param({"keep": ("zzz",)}, "P041", "porter inspect", id="a name like no other"),
    ],
)
def test_an_unknown_name_is_an_error_with_a_suggestion(options, code, suggestion):
    shown = refusal(convert_text(text_of("llama"), **options))
    assert code in shown and suggestion in shown


def test_strict_passes_where_every_site_is_ported_or_kept():
    assert accepted(convert_text(text_of("llama"), strict=True)).code == port_of("llama").code
    accepted(convert_text(text_of("llama"), strict=True, keep=("LlamaMLP",)))


def test_strict_refuses_every_site_that_is_left_and_says_where_it_parts():
    other = (
        "return self.weight * hidden_states.to(input_dtype)",
        "return self.weight * hidden_states.to(input_dtype) * 2",
    )
    refused = convert_text(varied(other), strict=True)
    shown = refusal(refused)
    assert "error[P102]: no rule matches `LlamaRMSNorm.forward`" in shown
    assert "closest: rules/norm_rms" in shown and "4 of 5 statements match" in shown
    line = varied(other).splitlines().index("        return self.weight * hidden_states.to(input_dtype) * 2") + 1
    assert f"llama/modeling_llama.py:{line}:" in shown and "--keep LlamaRMSNorm.forward" in shown


def test_strict_shows_where_the_closest_rule_and_the_source_part():
    shown = refusal(convert(source_of("diffllama"), name="diffllama", strict=True))
    assert "P102" in shown and "closest: rules/" in shown and "expected `" in shown


def test_strict_names_the_closest_rule_of_a_norm_that_parts_at_once():
    shown = refusal(convert(source_of("falcon_h1"), name="falcon_h1", strict=True))
    of_norm = next(part for part in shown.split("error[P102]: ") if "RMSNormGated.forward`" in part)
    assert "closest: rules/norm_rms" in of_norm and "expected `" in of_norm


def test_inspect_sees_what_convert_does():
    inspection = inspect(source_of("llama"))
    assert not isinstance(inspection, Refused) and inspection.sites == port_of("llama").sites


def test_the_account_names_places_of_the_source():
    ported = port_of("llama")
    lines = text_of("llama").splitlines()
    for site in ported.sites:
        assert lines[site.line - 1].strip().startswith("def ")
    assert all(1 <= change.start <= len(lines) and change.end <= len(lines) for change in ported.changes)


DIGEST = """
import hashlib
from porter.convert import convert
from porter.source import load_source

texts = [repr(convert(load_source("transformers.models." + m), name=m)) for m in ("llama", "qwen2", "gemma")]
codes = [convert(load_source("transformers.models." + m), name=m).code for m in ("llama", "qwen2", "gemma")]
print(hashlib.sha256("".join(texts + codes).encode()).hexdigest())
"""


def test_the_same_input_gives_the_same_bytes_in_every_process():
    digests = set()
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_a_conversion_imports_neither_torch_nor_transformers():
    code = DIGEST + "\nimport sys\nassert not {'torch', 'transformers'} & set(sys.modules)\n"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_same_source_twice_in_one_process():
    first, second = (convert(load_source("transformers.models.mistral"), name="m") for _ in range(2))
    digest = [hashlib.sha256(accepted(port).code.encode()).hexdigest() for port in (first, second)]
    assert digest[0] == digest[1] and first == second


def test_leaving_out_a_rule_that_others_need_leaves_them_out_too():
    ported = convert(source_of("llama"), name="llama", without=("norm_rms_residual",))
    assert not isinstance(ported, Refused)
    rules = {rule for rule, _ in ported.rules}
    assert "norm_rms" in rules and not rules & {"norm_rms_residual", "add_norm", "add_norm_across"}


def test_keeping_one_site_of_a_rule_for_the_whole_module_keeps_them_all():
    ported = convert(source_of("llama"), name="llama", keep=("LlamaModel.forward",))
    assert not isinstance(ported, Refused)
    assert not {"attention", "add_norm_across"} & {rule for rule, _ in ported.rules}
    assert "create_causal_mask(" in ported.code and "npu_causal_mask" not in ported.code

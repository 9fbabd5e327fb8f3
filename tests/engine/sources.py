"""Sources and rules to try the engine on: real modeling files, variations of Llama's, rule files of a few lines."""

from __future__ import annotations

import io
import tokenize
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

from porter.convert import Inspection, convert, inspect
from porter.diagnostics import Refused
from porter.report.diagnostic import render
from porter.rewrite import Ported
from porter.rulebook import LoadedRule, load_rule, load_rules
from porter.shipped import shipped
from porter.source import Source, load_source

TRANSFORMERS = "transformers.models."
FAMILY = ("llama", "mistral", "qwen2", "qwen3", "granite", "seed_oss")  # dense ones, of Llama's kind
Pair = tuple[str, str]  # what the source says, what it says instead


@cache
def source_of(model: str) -> Source:
    source = load_source(TRANSFORMERS + model)
    assert isinstance(source, Source), source
    return source


@cache
def rules() -> tuple[LoadedRule, ...]:
    """Those that come with porter: read once, half of what a conversion takes."""
    loaded = load_rules(shipped("rules"))
    assert not isinstance(loaded, Refused)
    return loaded


@cache
def port_of(model: str) -> Ported:
    return accepted(convert(source_of(model), name=model, rules=rules()))


def text_of(model: str) -> str:
    return source_of(model).text


def varied(*pairs: Pair, model: str = "llama") -> str:
    """The model's source with each `old` replaced by its `new`; every `old` must be there."""
    text = text_of(model)
    for old, new in pairs:
        assert old in text, f"{model} does not say {old!r}"
        text = text.replace(old, new)
    compile(text, model, "exec")
    return text


def convert_text(text: str, model: str = "llama", **options) -> Ported | Refused:
    """Convert a text as if it were the model's file."""
    by = {} if "rules_directory" in options else {"rules": rules()}
    return convert(replace(source_of(model), text=text), name=model, **{**by, **options})


def port(text: str, model: str = "llama", **options) -> Ported:
    ported = accepted(convert_text(text, model, **options))
    compile(ported.code, model, "exec")
    return ported


def free_standing(text: str) -> Source:
    """A source of no package, with no configuration beside it."""
    return replace(source_of("llama"), text=text, module=None, package=None, version=None, configuration=None)


def accepted(outcome: Ported | Refused) -> Ported:
    assert isinstance(outcome, Ported), "\n".join(render(d) for d in outcome.diagnostics)
    return outcome


def inspected(model: str) -> Inspection:
    seen = inspect(source_of(model), rules=rules())
    assert not isinstance(seen, Refused)
    return seen


def rules_of(ported: Ported) -> set[str]:
    return {rule for site in ported.sites for rule in site.rules}


def why(ported: Ported) -> str:
    """Everything the port says about what it left alone."""
    return "\n".join(f"{site.name}: {site.reason}" for site in ported.sites if site.reason)


def write_rule(
    folder: Path, text: str, name: str = "trial", declaration: str = 'Rule(edits=(Edit(site="*", unit="statements"),))'
) -> Path:
    """A rule file: `text` holds its functions."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(f'"""A rule under test"""\nfrom porter.rule import Edit, Rule\n\nrule = {declaration}\n\n\n{text}')
    return path


def loaded_rule(path: Path) -> LoadedRule:
    rule = load_rule(path, proving=True)
    assert isinstance(rule, LoadedRule), "\n".join(render(d) for d in rule.diagnostics)
    return rule


def comments(text: str) -> Counter[str]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return Counter(token.string for token in tokens if token.type == tokenize.COMMENT)

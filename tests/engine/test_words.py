"""Words that spare a search: no pattern that would match is passed over, and most that would not are."""

from __future__ import annotations

import datetime
import random
from pathlib import Path
from textwrap import indent
from unittest.mock import MagicMock

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.match import Subject
from porter.matrix.library import causal_modules
from porter.rewrite import Ported
from porter.rulebook import LoadedRule, load_rules
from porter.rulebook.kept import keep, kept
from porter.shipped import shipped
from porter.source import Source, load_source
from porter.tree import Tree, parse
from tests.engine.sources import write_rule
from tests.engine.test_identities import PAIRS

RULES = load_rules(shipped("rules"))
assert not isinstance(RULES, Refused)
SPELLED = {
    "a metavariable": ("p", "return torch.exp(p)", {"exp"}),
    "a local": ("p", "y = p.sin()\nreturn y.cos()", {"sin", "cos"}),
    "an attribute that stands for any": ("p", "return self.norm(p, self.width)", {"width"}),
    "a keyword": ("p", "return torch.sum(p, axis=0)", {"sum", "axis="}),
    "a keyword that may be given": ("p", "return torch.sum(p, axis=maybe)", {"sum"}),
    "operators": ("p, q", "return p - q @ p", {"Subtract of two", "MatrixMultiply of two"}),
    "what an identity says otherwise": ("p", "return p.pow(2).float()", set()),
    "what every spelling of an identity says": ("p", "return torch.rsqrt(p)", {"rsqrt"}),
    "an import": ("p", "return F.gelu(p)", {"gelu"}),
    "a parameter of a lambda": ("p", "return p.apply(lambda row: row.sin())", {"apply", "sin"}),
    "a function that is asked for": ("p", "return turned(p)", {"turned"}),
    "an annotation": ("p", "y: Tensor = p.sin()\nreturn y", {"sin"}),
}


@pytest.fixture
def identities(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    text = (shipped("rules") / "shared" / "identities.py").read_text()
    (tmp_path / "shared" / "identities.py").write_text(text)
    return tmp_path


def rule_of(folder: Path, parameters: str, before: str) -> LoadedRule:
    text = f"def before(self, {parameters}):\n{indent(before, '    ')}\n\n\n"
    text += f"def after(self, {parameters}):\n    return 0\n\n\ndef given_turned(x):\n    return x\n"
    declaration = 'Rule(edits=(Edit(site="*", unit="function"),), attributes=("norm",))'
    path = write_rule(folder, text, declaration=declaration)
    imports = "import torch\nimport torch.nn.functional as F\nfrom porter.rule import maybe\n\n\nrule ="
    path.write_text(path.read_text().replace("rule =", imports, 1))
    rules = load_rules(folder)
    assert isinstance(rules, tuple), rules
    return rules[0]


@pytest.mark.parametrize(("parameters", "before", "words"), SPELLED.values(), ids=SPELLED)
def test_the_words_of_a_pattern(identities, parameters, before, words):
    assert rule_of(identities, parameters, before).words == ((frozenset(words),),)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_no_spelling_of_an_identity_is_passed_over(identities, one, other):
    codes = [spelling.identity.file.code(spelling.expression) for spelling in (one, other)]
    parameters = ", ".join(item.name.value for item in one.identity.before.params.params)
    rule = rule_of(identities, parameters, f"return {codes[0]}")
    assert rule.words[0][0] <= rule_of(identities, parameters, f"return {codes[1]}").words[0][0]


@pytest.mark.parametrize(
    ("head", "called"),
    [("from torch import exp as e", "e"), ("import torch as t", "t.exp"), ("from torch import exp", "exp")],
)
def test_what_is_imported_has_its_own_name(head, called):
    tree = parse(f"{head}\n\n\ndef f(x):\n    return {called}(x)\n", "source.py")
    assert isinstance(tree, Tree)
    subject = Subject(tree, MagicMock(), MagicMock(), every=False)
    assert subject.may_hold([frozenset({"exp"})], tree.functions["f"])
    assert not subject.may_hold([frozenset({"sin"})], tree.functions["f"])


def drawn() -> list[str]:
    modules = causal_modules()
    assert not isinstance(modules, Refused)
    today = random.Random(datetime.date.today().isoformat())
    return ["transformers.models.llama", "transformers.models.phi", *today.sample(list(modules), 4)]


@pytest.mark.parametrize("number", range(6))
def test_a_port_is_what_a_search_with_every_rule_gives(number, monkeypatch):
    source = load_source(drawn()[number])
    assert isinstance(source, Source)
    quick = convert(source, name="x", rules=RULES)
    monkeypatch.setattr(Subject, "may_hold", lambda *_: True)
    whole = convert(source, name="x", rules=RULES)
    assert type(quick) is type(whole), source.module
    if isinstance(quick, Ported) and isinstance(whole, Ported):
        assert (quick.code, quick.sites) == (whole.code, whole.sites), source.module
    else:
        assert quick == whole, source.module


def test_code_that_cannot_match_is_not_even_read(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep("these", RULES)
    rules = kept("these")
    assert rules is not None
    source = load_source("transformers.models.llama")
    assert isinstance(source, Source) and isinstance(convert(source, name="x", rules=rules), Ported)
    read = {rule.name for rule in rules if "code" in vars(rule)}
    assert {"attention", "norm_rms", "swiglu"} <= read
    assert not {"xielu", "layer_norm_called", "norm_rms_grouped", "swiglu_fused"} & read

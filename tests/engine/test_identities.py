"""Spellings of one value: every shipped one is seen through, near misses are not, and each is proved."""

from __future__ import annotations

from itertools import permutations
from textwrap import indent

import pytest

from porter.diagnostics import Refused
from porter.match import PatternMatcher
from porter.rulebook import load_rules
from porter.rulebook.identities import Identities, load_identities
from porter.shipped import shipped
from porter.tree import Tree, parse
from porter.tree.functions import parameters_of
from porter.verify.prove import prove
from tests.engine.sources import write_rule

SHIPPED = load_identities(shipped("rules"))
assert isinstance(SHIPPED, Identities)
PAIRS = [
    pytest.param(one, other, id=f"{one.identity.name}-{one.index}-{other.index}")
    for alike in SHIPPED.spellings
    for one, other in permutations(alike, 2)
]


def found(folder, before: str, source: str, *, unit: str = "function", given: str = "x", parameters: str = "x"):
    """Whether a rule with this `before`, beside the shipped identities, takes a function with this body."""
    shared = folder / "shared"
    shared.mkdir(exist_ok=True)
    (shared / "identities.py").write_text((shipped("rules") / "shared" / "identities.py").read_text())
    head = "import torch\n"
    text = f"def before({parameters}):\n{indent(before, '    ')}\n\n\ndef after({parameters}):\n    return 0\n"
    write_rule(folder, text, declaration=f'Rule(edits=(Edit(site="*", unit="{unit}"),))')
    path = folder / "trial.py"
    path.write_text(path.read_text().replace("from porter.rule", head + "from porter.rule", 1))
    rules = load_rules(folder)
    assert isinstance(rules, tuple), rules
    parsed = parse(f"{head}\n\ndef f({given}):\n{indent(source, '    ')}\n", "source.py")
    assert isinstance(parsed, Tree)
    return PatternMatcher(rules[0], rules[0].edits[0].patterns[0], parsed).find(parsed.functions["f"], unit)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_every_spelling_stands_for_every_other(tmp_path, one, other):
    names = [parameter.name.value for parameter in parameters_of(one.identity.before)]
    codes = [spelling.identity.file.code(spelling.expression) for spelling in (one, other)]
    given = ", ".join(names)
    (match,) = found(tmp_path, f"return {codes[0]}", f"return {codes[1]}", given=given, parameters=given)
    assert sorted(node.value for node in match.bindings.metas.values()) == sorted(names)


@pytest.mark.parametrize(
    ("before", "source"),
    [
        ("return self.p - self.q", "return self.q - self.p"),
        ("return self.p / self.q", "return self.q / self.p"),
        ("return self.p @ self.q", "return self.q @ self.p"),
        ("return self.p.float()", "return self.p.to(torch.float16)"),
        ("return self.p.float()", "return self.p.double()"),
        ("return self.p.pow(2) + self.q", "return self.p * self.q + self.q"),
        ("return self.p.mean(-1, keepdim=True) + self.q", "return self.p.mean(-1) + self.q"),
        ("return self.p.mean(-1, keepdim=True) + self.q", "return self.p.mean(-1, keepdim=False) + self.q"),
        ("return torch.cat((self.p, self.q), dim=-1)", "return torch.cat((self.q, self.p), dim=-1)"),
        ("return torch.cat((self.p, self.q), dim=-1)", "return torch.stack((self.p, self.q), dim=-1)"),
        ("return self.p[..., ::2] + self.q", "return self.p[..., 1::2] + self.q"),
        ("return (self.p + self.q) + 3", "return self.p + (self.q + 3)"),
        ("return 1 + self.p * self.q", "return 2 + self.p * self.q"),
    ],
)
def test_other_values_are_not_one(tmp_path, before, source):
    assert found(tmp_path, before, before, given="self", parameters="self")
    assert not found(tmp_path, before, source, given="self", parameters="self")


INLINE = "return torch.cat((-x[..., 1:], x[..., :1]), dim=-1)"
NORMED = """\
d = x.dtype
x = x.float()
v = x.pow(2).mean(-1, keepdim=True)
return (x * torch.rsqrt(v + e)).to(d)"""


@pytest.mark.parametrize(
    ("before", "source", "given"),
    [
        (INLINE, "a = x[..., :1]\nb = x[..., 1:]\nreturn torch.cat([-b, a], dim=-1)", "x, e"),
        (INLINE, "b, a = x[..., 1:], x[..., :1]\ny = torch.cat((-b, a), -1)\nreturn y", "x, e"),
        (
            NORMED,
            "y = x.to(torch.float32)\nreturn (torch.rsqrt((y * y).mean(dim=-1, keepdim=True) + e) * y).type_as(x)",
            "x, e",
        ),
        (
            NORMED,
            "y: T = x.float()\nn = torch.rsqrt(e + torch.mean(y**2, -1, keepdim=True)) * y\nreturn n.to(dtype=x.dtype)",
            "x, e",
        ),
        ("a, b = x.chunk(2, -1)\nreturn a * b", "first, second = x.chunk(2, -1)\ny = second * first\nreturn y", "x, e"),
    ],
)
def test_functions_are_what_they_compute(tmp_path, before, source, given):
    (match,) = found(tmp_path, before, source, given=given, parameters="x, e")
    assert len(match.segments) == 1  # the whole body


@pytest.mark.parametrize(
    "source",
    [
        "a = x[..., :1]\nlog(a)\nreturn torch.cat((-x[..., 1:], a), dim=-1)",  # an effect
        "a = x[..., :1]\nn = count(x)\nreturn torch.cat((-x[..., 1:], a), dim=-1)",  # a step the value does not need
        "a = x.neg_()\nreturn torch.cat((-x[..., 1:], x[..., :1]), dim=-1)",
        "x[0] = 1\nreturn torch.cat((-x[..., 1:], x[..., :1]), dim=-1)",
        "x += 1\nreturn torch.cat((-x[..., 1:], x[..., :1]), dim=-1)",
        "a = x[..., :1]\nif e:\n    a = a * 2\nreturn torch.cat((-x[..., 1:], a), dim=-1)",
        "for a in x:\n    b = a\nreturn torch.cat((-x[..., 1:], x[..., :1]), dim=-1)",
        "a, b = x[..., 1:], x[..., :1]\nreturn torch.cat((-b, a), dim=-1)",
        "b = x[..., 1:]\nb = b + 1\nreturn torch.cat((-b, x[..., :1]), dim=-1)",
        "yield torch.cat((-x[..., 1:], x[..., :1]), dim=-1)",
    ],
)
def test_another_computation_is_another_function(tmp_path, source):
    assert not found(tmp_path, INLINE, source, given="x, e")


def test_unpacked_parts_are_told_apart(tmp_path):
    before = "a, b = x.chunk(2, -1)\nreturn a - b"
    for source in (
        "b, a = x.chunk(2, -1)\nreturn a - b",
        "a, b, c = x.chunk(2, -1)\nreturn a - b",
        "a, b = x.chunk(3, -1)\nreturn a - b",
        "a, *b = x.chunk(2, -1)\nreturn a - b",
    ):
        assert not found(tmp_path, before, source), source


def test_what_a_parameter_stands_for_is_said_without_the_locals_that_go(tmp_path):
    """`p` would be `a + b`, whose definitions are no longer there."""
    source = "a, b = x.chunk(2, -1)\nreturn (a + b).float() * 2"
    assert not found(tmp_path, "return p.float() * 2", source, parameters="p")
    (match,) = found(tmp_path, "return p.float() * 2", "a = x + 1\nreturn a.float() * 2", parameters="p")
    assert match.bindings.metas["p"].right.value == "1"


HEAD = '"""Spellings."""\n\nimport torch\n\n\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def same_x(x):\n    x.float()\n", "two spellings"),
        ("def same_x(x):\n    x.float()\n    return x.to(torch.float32)\n", "two spellings"),
        ("def same_x(x):\n    x\n    x + 0\n", "bare name"),
        ("def same_x(x, y):\n    x * y\n    x * 2\n", "does without `y`"),
        ("def given_x(x):\n    x.a()\n    x.b()\n", "`same_*`"),
    ],
)
def test_a_broken_identity_is_located(tmp_path, text, message):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "identities.py").write_text(HEAD + text)
    outcome = load_rules(tmp_path)
    assert isinstance(outcome, Refused)
    assert message in outcome.diagnostics[0].message
    assert outcome.diagnostics[0].span.path.endswith("shared/identities.py")


@pytest.mark.parametrize(
    "text",
    [
        "def same_sum_of_three(a, b, c):\n    (a + b) + c\n    a + (b + c)\n",
        "def same_halved(x):\n    x / 3\n    x * (1 / 3)\n",
        "def same_zero(x):\n    x + 0.0\n    x - 0.0\n",  # -0.0 + 0.0 is 0.0
        "def same_wide(x):\n    x.float()\n    x.double()\n",
        "def same_shape(x):\n    x.mean(-1)\n    x.mean(-1, keepdim=True)\n",
    ],
)
def test_what_is_not_the_same_bits_is_no_identity(tmp_path, text):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "identities.py").write_text(HEAD + text)
    write_rule(tmp_path, "def before(x):\n    f(x)\n\n\ndef after(x):\n    g(x)\n")
    (proof,) = prove(("identities",), tmp_path, seeds=8)
    assert proof.status == "failed" and "line" in proof.detail


def test_the_shipped_identities_are_the_same_bits():
    (proof,) = prove(("identities",), seeds=16)
    assert proof.status == "passed", proof.detail
    assert proof.figures["spellings"] == sum(map(len, SHIPPED.spellings))

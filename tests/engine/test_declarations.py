"""What a rule file declares is looked at when it is read: each wrong field, name and function is a located message."""

from __future__ import annotations

import pytest

from porter.diagnostics import Refused
from porter.report.diagnostic import render
from porter.rule import OTHER_ATTENTION
from porter.rulebook import LoadedRule, load_rule, load_rules

HEAD = '"""One rule"""\nrule = {}\n\n\n'
BODY = "def before(self, x):\n    y = f(x)\n\n\ndef after(self, x):\n    y = g(x)\n"

# argument -> what the message says; the caret stands under the value
FIELDS = {
    "edits=5": "edits are a tuple",
    'edits="x"': "edits are a tuple",
    "edits=()": "edits are a tuple",
    "edits=(5,)": "`Edit(...)` is wanted here",
    'edits=Edit("a")': "edits are a tuple",
    "edits=(Rule(),)": "`Edit(...)` is wanted here",
    "edits=(Edit(name=5),)": "name is `5`, not a name",
    'edits=(Edit(name="a b"),)': "name is",
    "edits=(Edit(site=5),)": "site is `5`, not a text",
    'edits=(Edit(unit="x"),)': "unit is `x`, not one of",
    'edits=(Edit(""), Edit(""))': "another edit",
    "edits=(Edit(*x),)": "literals only",
    "edits=(Edit(sit='*'),)": "did you mean `site`?",
    "edits=(Edit(site=b'*'),)": "not a text",
    "edits=(Edit(site=...),)": "not a text",
    "edits=(Edit(unit=5),)": "unit is `5`, not one of",
    "edits=(Edit(unit=''),)": "not one of",
    "supersedes=5": "supersedes is `5`, not a tuple of names",
    'supersedes="norm"': "supersedes is `norm`, not a tuple of names",
    "supersedes=(5,)": "not a tuple of names",
    "supersedes=(*x,)": "literals only",
    "requires=5": "not attributes and rules",
    'requires=("a",)': "not attributes and rules",
    "requires={1: 2}": "not attributes and rules",
    'requires={"norm": 5}': "not attributes and rules",
    "requires={[]: 5}": "not attributes and rules",
    "requires={**x}": "literals only",
    "guards=5": "not metavariables, or attributes of `self`, and the values",
    'guards={"x": 5}': "not metavariables, or attributes of `self`, and the values",
    'guards={"x": ()}': "not metavariables, or attributes of `self`, and the values",
    "guards={5: (1,)}": "not metavariables, or attributes of `self`, and the values",
    "edits=(Edit(private=5),)": "private is `5`",
    'edits=(Edit(private="abc"),)': "not a tuple of names",
    "edits=(Edit(private=(1,)),)": "not a tuple of names",
    "edits=(Edit(answers=5),)": "not a tuple of names",
    "edits=(Edit(returned=5),)": "not locals and kinds of classes",
    'edits=(Edit(returned={"x": "moe"}),)': "not locals and kinds of classes",
    'edits=(Edit(returned={"x": ()}),)': "not locals and kinds of classes",
    'edits=(Edit(returned={"x": ("other",)}),)': "not locals and kinds of classes",
    "edits=(Edit(returned={[]: 5}),)": "not locals and kinds of classes",
    "edits=(Edit(carried=5),)": "not a tuple of names",
    "absent=5": "not a tuple of names",
    'absent="abc"': "not a tuple of names",
    "absent=OTHER_ATTENTION": "literals only",
    "attributes=5": "not a tuple of names",
    "merges=5": "not linears and those that become one",
    "merges=(1,)": "not linears and those that become one",
    'merges={"a": "bc"}': "not linears and those that become one",
    'merges={"a": ("b",)}': "not linears and those that become one",
    'merges={5: ("b", "c")}': "not linears and those that become one",
    "splits=5": "not attributes, each with one of whole, once, pieces, halves, pairs and a dimension",
    'splits={"w": "pieces"}': "not attributes, each",
    'splits={"w": ("thirds", 0)}': "not attributes, each",
    'splits={"w": ("pieces", True)}': "not attributes, each",
    'splits={"a.w": ("pieces", 0)}': "not attributes, each",
    "on_demand=5": "not True or False",
    'on_demand="x"': "not True or False",
    "nosuch=1": "`Rule` has no field `nosuch`",
    "suprsedes=()": "did you mean `supersedes`?",
    "**x": "literals only",
    "*x": "literals only",
    "edits=(Edit(site=str(1)),)": "literals only",
    "edits=(Edit(site=f'x'),)": "literals only",
    'edits=(Edit("a", name="a"),)': "`name` is given twice",
    'site="*"': "`Rule` has no field `site`",
    ", ".join(["(Edit(),)", *["()"] * 15]): "fields, this is one more",
    'room="config.max_seq_len"': "room is `config.max_seq_len`, not a name of the configuration's",
}


def refusal(tmp_path, text: str) -> tuple[str, int]:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "trial.py").write_text(text)
    refused = load_rules(tmp_path / "rules")
    assert isinstance(refused, Refused), "it loads"
    (diagnostic,) = refused.diagnostics
    assert diagnostic.code == "P030" and diagnostic.help and diagnostic.span is not None
    assert diagnostic.span.path == "rules/trial.py"
    shown = render(diagnostic, text)
    assert " | " in shown and "^" in shown
    return diagnostic.message, diagnostic.span.line


@pytest.mark.parametrize(("argument", "says"), FIELDS.items(), ids=FIELDS)
def test_a_field_of_the_wrong_kind(tmp_path, argument, says):
    message, line = refusal(tmp_path, HEAD.format(f"Rule({argument})") + BODY)
    assert says in message and line == 2, message


NAMING = '"""One rule"""\nfrom porter.rule import {}, Edit, Rule\n\nrule = Rule(absent={})\n\n\n' + BODY


def test_a_value_that_the_form_names(tmp_path):
    (tmp_path / "trial.py").write_text(NAMING.format("OTHER_ATTENTION as others", "others"))
    rule = load_rule(tmp_path / "trial.py")
    assert isinstance(rule, LoadedRule) and rule.declared.absent == OTHER_ATTENTION


@pytest.mark.parametrize(("name", "says"), [("PLAIN_ATTENTION", "not a tuple of names"), ("UNITS", "literals only")])
def test_a_name_of_the_form_that_is_no_such_value(tmp_path, name, says):
    message, line = refusal(tmp_path, NAMING.format(name, name))
    assert says in message and line == 4, message


@pytest.mark.parametrize(
    "declaration", ["5", "Rule", 'Edit("a")', "[Rule()]", "other", "rule.Rule()", "Rule()()", "None"]
)
def test_a_declaration_that_is_none(tmp_path, declaration):
    message, line = refusal(tmp_path, HEAD.format(declaration) + BODY)
    assert "`Rule(...)` is wanted here" in message and line == 2


# declaration, functions, line, what the message says
FILES = {
    "itself": ('Rule(supersedes=("trial",))', BODY, 1, "names itself"),
    "a role without a method": ('Rule(edits=(Edit(site="norm"),))', BODY, 9, "followed by a method"),
    "a role with a dot": ('Rule(edits=(Edit(site="norm."),))', BODY, 9, "followed by a method"),
    "a role with two": ('Rule(edits=(Edit(site="norm.a.b"),))', BODY, 9, "followed by a method"),
    "functions with a method": ('Rule(edits=(Edit(site="function.forward"),))', BODY, 9, "followed by a method"),
    "a mark that is not imported": (
        "Rule()",
        BODY.replace("before(self, x)", "before(self, x: Argument)"),
        5,
        "says that `x` is `Argument`, which nothing here binds: import `Argument` or `Varying` from `porter.rule`",
    ),
    "a private one of none": (
        'Rule(edits=(Edit(private=("q",)),))',
        BODY,
        2,
        "private has `q`, which no `before` mentions",
    ),
    "a returned one of none": (
        'Rule(edits=(Edit(returned={"q": ("moe",)}),))',
        BODY,
        2,
        "returned has `q`, which no `before` mentions",
    ),
    "a split of no spelling": (
        'Rule(splits={"w": ("pieces", 0), "w__other": ("pieces", 1)})',
        BODY,
        2,
        "splits has `w__other`, and no `before` is called `__other`",
    ),
    "a split of one spelling alone": (
        'Rule(splits={"w__other": ("pieces", 1)})',
        BODY + BODY.replace("(self", "__other(self"),
        2,
        "splits has `w__other`, and no `w` for the other spellings",
    ),
    "a guard of none": ('Rule(guards={"q": (1,)})', BODY, 2, "guards has `q`, which no `before` takes"),
    "a shorter after": (
        'Rule(edits=(Edit(unit="expressions"),))',
        "def before(self, x):\n    f(x)\n    g(x)\n\n\ndef after(self, x):\n    h(x)\n",
        10,
        "`before` has 2 expressions, `after` puts 1",
    ),
    "an after of a docstring": (
        "Rule()",
        'def before(self, x):\n    f(x)\n\n\ndef after(self, x):\n    """Nothing."""\n',
        9,
        "`after` says nothing",
    ),
    "a before of a docstring": (
        'Rule(edits=(Edit(unit="function"),))',
        'def before(self, x):\n    """All."""\n\n\ndef after(self, x):\n    y = 1\n',
        9,
        "`before` says nothing",
    ),
    "a before of dots": (
        "Rule()",
        "def before(self, x):\n    ...\n\n\ndef after(self, x):\n    ...\n",
        9,
        "says nothing",
    ),
    "dots in the after of a function alone": (
        'Rule(edits=(Edit(unit="function"),))',
        "def before(self, x):\n    y = f(x)\n\n\ndef after(self, x):\n    y = g(x)\n    ...\n",
        9,
        "`before` has 0 top-level `...`, `after` has 1",
    ),
    "a pattern twice": ("Rule()", f"{BODY}\n\n{BODY}", 13, "`before` is defined twice"),
    "an after for no before": ("Rule()", f"{BODY}\n\ndef after__x(self):\n    y = 1\n", 13, "has no `before__x`"),
    "a before of no edit": ("Rule()", f"{BODY}\n\ndef before_x(self):\n    y = 1\n", 13, "belongs to no edit"),
    "an after of no edit": ("Rule()", f"{BODY}\n\ndef after_x(self):\n    y = 1\n", 13, "belongs to no edit"),
    "a given of nothing": ("Rule()", f"{BODY}\n\ndef given_(x):\n    y = 1\n", 13, "does not say what it is"),
    "an async pattern": ("Rule()", f"async {BODY}", 5, "a plain function"),
    "a decorated pattern": ("Rule()", f"@cached\n{BODY}", 6, "a plain function"),
    "parameters that do not agree": (
        "Rule()",
        "def before(self, x, z):\n    y = f(x, z)\n\n\ndef after(self, x):\n    y = g(x, z)\n",
        9,
        "`after` uses z, which `before` takes",
    ),
    "classes for functions": ("Rule()", "class before: pass\nclass after: pass\n", 2, "no function `before`"),
    "lambdas for functions": ("Rule()", "before = lambda x: x\nafter = lambda x: x\n", 2, "no function `before`"),
}


@pytest.mark.parametrize(("declaration", "functions", "line", "says"), FILES.values(), ids=FILES)
def test_a_file_that_does_not_agree_with_itself(tmp_path, declaration, functions, line, says):
    message, found = refusal(tmp_path, HEAD.format(declaration) + functions)
    assert says in message and found == line, (message, found)


LONG_SHARED = f'"""One"""\nfrom rules.shared.{"x" * 300} import not_x\n\nrule = Rule()\n\n\n{BODY}'
OTHERS = {
    "binary": bytes(range(256)),
    "a null character": b'"""One"""\0\n',
    "another encoding": '"""Größe"""\n'.encode("latin-1"),
    "a byte order mark": b"\xef\xbb\xbf" + (HEAD.format("Rule()") + BODY).encode(),
    "empty": b"",
    "a shared file with a name too long": LONG_SHARED.encode(),
    "a comment": b"# to come\n",
    "no Python": b"rule = Rule(\n",
    "tabs": b'"""One"""\nif x:\n\ty = 1\n',
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_a_file_that_is_no_rule_file(tmp_path, data):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "trial.py").write_bytes(data)
    refused = load_rules(tmp_path / "rules")
    assert isinstance(refused, Refused) and refused.diagnostics[0].span is not None and refused.diagnostics[0].help


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
    import os

    for name, make in {"pipe": os.mkfifo, "folder": os.mkdir, "loop": lambda path: os.symlink(path, path)}.items():
        rules = tmp_path / name
        rules.mkdir()
        make(rules / "trial.py")
        refused = load_rules(rules)
        assert isinstance(refused, Refused) and refused.diagnostics[0].code == "P030", name

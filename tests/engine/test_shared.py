"""What rule files share: as if it stood in each of them, and what is wrong with it is one message with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.diagnostics import Refused
from porter.report.diagnostic import render
from porter.rulebook import LoadedRule, load_rules
from porter.rulebook.identities import FILE
from porter.rulebook.shared import SHARED
from porter.shipped import shipped
from tests.engine.sources import convert_text, port, text_of, write_rule

GIVEN = """def given_rotate_half(x):
    x1 = x[..., : x.shape[-1] // 2]
    x2 = x[..., x.shape[-1] // 2 :]
    return torch.cat((-x2, x1), dim=-1)
"""
OTHER = GIVEN.replace("dim=-1", "dim=-2")
NOT = """def not_negative(x):
    y = -rotate_half(x)
"""
SHARED_TEXT = f'"""What rules share"""\nimport torch\n\n\n{GIVEN}\n\n{NOT}'
TAKES = "from rules.shared.turns import given_rotate_half, not_negative\n\n\n"
FUSED = """def before(q, cos, sin):
    q_embed = (q * cos) + (rotate_half(q) * sin)


def after(q, cos, sin):
    q_embed = torch.ops.npu.rotary(q, cos, sin)
"""
SITE = 'Rule(edits=(Edit(site="function", unit="statements"),))'


def folder_of(tmp_path: Path, functions: str, shared: str | bytes = SHARED_TEXT) -> Path:
    """A folder of one rule, with `shared/turns.py` beside it."""
    tmp_path.mkdir(exist_ok=True)
    folder = write_rule(tmp_path / "own_rules", functions, declaration=SITE).parent
    (folder / SHARED).mkdir(exist_ok=True)
    (folder / SHARED / "turns.py").write_bytes(shared if isinstance(shared, bytes) else shared.encode())
    return folder


def refusal(outcome: object) -> str:
    """The one message of a refusal."""
    assert isinstance(outcome, Refused), outcome
    (diagnostic,) = outcome.diagnostics
    return render(diagnostic)


def loaded(folder: Path) -> LoadedRule:
    rules = load_rules(folder, proving=True)
    assert not isinstance(rules, Refused), "\n".join(render(d) for d in rules.diagnostics)
    return rules[0]


def test_what_a_rule_takes_is_as_if_it_stood_there(tmp_path):
    rule = loaded(folder_of(tmp_path, TAKES + FUSED))
    assert [pattern.name for pattern in rule.given["rotate_half"]] == ["given_rotate_half"]
    assert [pattern.name for pattern in rule.code.negatives] == ["not_negative"]


def test_a_rule_converts_alike_whether_it_takes_a_spelling_or_holds_it(tmp_path):
    taken = port(text_of("llama"), rules_directory=folder_of(tmp_path / "one", TAKES + FUSED))
    held = port(text_of("llama"), rules_directory=folder_of(tmp_path / "two", f"{GIVEN}\n\n{FUSED}"))
    assert "q_embed = torch.ops.npu.rotary(q, cos, sin)" in taken.code
    assert (taken.code, taken.changes, taken.sites) == (held.code, held.changes, held.sites)


def test_a_module_with_another_spelling_is_told_the_place_in_the_shared_file(tmp_path):
    folder = folder_of(tmp_path, TAKES + FUSED, SHARED_TEXT.replace(GIVEN, OTHER))
    shown = refusal(convert_text(text_of("llama"), rules_directory=folder))
    assert "is not the function of own_rules/shared/turns.py:5" in shown


def test_a_shared_file_is_no_rule(tmp_path):
    folder = folder_of(tmp_path, TAKES + FUSED)
    assert [rule.name for rule in load_rules(folder)] == ["trial"]
    names = [rule.name for rule in load_rules(shipped("rules"))]
    assert names and not {path.stem for path in (shipped("rules") / SHARED).glob("*.py")} & set(names)


def test_a_name_for_matching_is_none_for_the_new_code(tmp_path):
    functions = TAKES + FUSED.replace("torch.ops.npu.rotary(", "given_rotate_half(")
    shown = refusal(convert_text(text_of("llama"), rules_directory=folder_of(tmp_path, functions)))
    assert "`given_rotate_half`, which this rewrite needs, is not defined here" in shown


def wrong(name: str, old: str, new: str, says: str):
    return pytest.param(TAKES.replace(old, new) + FUSED, says, id=name)


WRONG = [
    wrong("a name that is not there", "not_negative", "not_negativ", "no `not_negativ`; did you mean `not_negative`?"),
    wrong("a file that is not there", "turns", "tunrs", "there is no `own_rules/shared/tunrs.py`"),
    wrong("a name of its own", "not_negative", "not_negative as not_turned", "keeps its name"),
    wrong("a name twice", "not_negative", "given_rotate_half", "another `given_rotate_half`"),
    wrong("everything", "given_rotate_half, not_negative", "*", "has no `*`"),
    wrong("another rule's functions", "rules.shared.turns", "rules.other", "from `rules.shared.<file>`"),
    wrong("a folder of shared files", "rules.shared.turns", "rules.shared", "from `rules.shared.<file>`"),
    wrong("a deeper folder", "rules.shared.turns", "rules.shared.more.turns", "from `rules.shared.<file>`"),
    wrong("a name relative to the rule", "rules.shared.turns", ".shared.turns", "from `rules.shared.<file>`"),
]


@pytest.mark.parametrize(("functions", "says"), WRONG)
def test_what_a_rule_takes_and_is_not_there_is_one_message_in_the_rule(tmp_path, functions, says):
    refused = load_rules(folder_of(tmp_path, functions), proving=True)
    assert isinstance(refused, Refused)
    (diagnostic,) = refused.diagnostics
    shown = render(diagnostic)
    assert says in shown and diagnostic.code == "P030" and diagnostic.help
    assert (diagnostic.span.path, diagnostic.span.line) == ("own_rules/trial.py", 7), shown


def test_a_function_that_is_taken_and_defined_is_a_message(tmp_path):
    assert "another `not_negative`" in refusal(
        load_rules(folder_of(tmp_path, f"{TAKES}{NOT}\n\n{FUSED}"), proving=True)
    )


BROKEN = [
    pytest.param(SHARED_TEXT.replace("def not_", "def not_ "), 11, "not valid Python", id="a syntax error"),
    pytest.param(b'"""\n\xff"""\n', 2, "not UTF-8", id="bytes that are no text"),
    pytest.param(SHARED_TEXT + "\n\ndef before(x):\n    y = x\n", 15, "`given_*` and `not_*`", id="a before"),
    pytest.param(SHARED_TEXT + '\nrule = Rule(edits=(Edit(site="*"),))\n', 14, "`given_*` and `not_*`", id="a rule"),
    pytest.param("from rules.shared.more import given_f\n" + SHARED_TEXT, 1, "`given_*` and `not_*`", id="taking"),
]


@pytest.mark.parametrize(("shared", "line", "says"), BROKEN)
def test_a_broken_shared_file_is_one_message_in_that_file(tmp_path, shared, line, says):
    refused = load_rules(folder_of(tmp_path, TAKES + FUSED, shared))
    assert isinstance(refused, Refused)
    (diagnostic,) = refused.diagnostics
    shown = render(diagnostic)
    assert says in shown and diagnostic.help
    assert diagnostic.span.path.endswith("own_rules/shared/turns.py") and diagnostic.span.line == line, shown


SHARED_BEFORE = SHARED_TEXT + "\n\ndef before_step(x):\n{reason}    z = step(x)\n"
TWO = 'Rule(edits=(Edit("turn", site="function", unit="statements"), Edit("step", site="*", unit="statements")))'
TAKES_BEFORE = "from rules.shared.turns import before_step\n\n\n"


@pytest.mark.parametrize(
    ("reason", "own", "place", "says"),
    [
        ('    """as it is"""\n', "", ("shared/turns.py", 15), "`before_step` has no `after`, and others"),
        ("", "", ("shared/turns.py", 15), "no `after_step`, and no docstring"),
        ("", "\n\ndef after_step(x):\n    y = step(x)\n", ("trial.py", 18), "assigns z"),
    ],
    ids=["a reason beside others' code", "no reason", "another local in the rule's own after"],
)
def test_what_is_wrong_with_a_shared_before_has_the_place_where_it_stands(tmp_path, reason, own, place, says):
    folder = folder_of(tmp_path, "", SHARED_BEFORE.format(reason=reason))
    turn = FUSED.replace("def before(", "def before_turn(").replace("def after(", "def after_turn(")
    write_rule(folder, TAKES_BEFORE + turn + own, declaration=TWO)
    refused = load_rules(folder)
    assert isinstance(refused, Refused)
    (diagnostic,) = refused.diagnostics
    assert says in render(diagnostic), render(diagnostic)
    assert (diagnostic.span.path, diagnostic.span.line) == (f"own_rules/{place[0]}", place[1])


def test_a_rule_is_another_when_a_file_it_takes_from_is(tmp_path):
    functions = TAKES.replace(", not_negative", "") + FUSED
    first = loaded(folder_of(tmp_path, functions)).sha256
    assert loaded(folder_of(tmp_path, functions)).sha256 == first
    assert loaded(folder_of(tmp_path, functions, SHARED_TEXT.replace(GIVEN, OTHER))).sha256 != first


def test_every_shipped_shared_function_is_taken():
    rules = load_rules(shipped("rules"), proving=True)
    assert not isinstance(rules, Refused)
    every = [each for rule in rules for each in rule.code.taken]
    taken = {(each.file.display, function.name.value) for each in every for function in each.functions}
    files = {each.file.display: each.file for each in every}
    there = {path.name for path in (shipped("rules") / SHARED).glob("*.py")} - {FILE}
    assert {Path(name).name for name in files} == there
    assert taken == {(name, function) for name, file in files.items() for function in file.functions}


@pytest.mark.parametrize("path", sorted(shipped("rules").rglob("*.py")), ids=lambda path: path.stem)
def test_a_file_of_rules_is_a_short_read(path):
    assert path.read_text().count("\n") < 300

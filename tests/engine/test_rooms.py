"""One function of a room made wrong: what the tests ask of a conversion no longer holds. So the tests can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.rewrite import Ported
from porter.rewrite.sweep import Dead
from porter.source import load_source
from tests.engine.checks import lost_comments, undefined
from tests.engine.sources import accepted, convert_text, free_standing, port_of, rules_of, text_of, varied, write_rule
from tests.engine.test_plan import ANY, BOTH, EXPRESSION, FIRST, MODEL, statements

LLAMA = text_of("llama")
Holds = Callable[[Path], bool]


def converted(folder: Path, *rules: tuple[str, str, str], body: str = "", model: str = MODEL) -> Ported | Refused:
    """The model, with another first line of its attention, by rules of a folder."""
    for name, declaration, functions in rules:
        write_rule(folder, functions, name, declaration)
    text = model.replace("        x = first(x)\n", f"        {body}\n") if body else model
    return convert(free_standing(text), name="tiny", rules_directory=folder)


# -- what holds: each is a property that other tests ask for


def bytes_are_read_as_declared(folder: Path) -> bool:
    folder.mkdir()
    file = folder / "modeling_tiny.py"
    file.write_bytes(f"# coding: latin-1\n# é\n{MODEL}".encode("latin-1"))
    return not isinstance(load_source(str(file)), Refused)


def a_syntax_error_is_pythons_own(folder: Path) -> bool:
    refused = converted(folder, FIRST, body="x = (")
    return isinstance(refused, Refused) and refused.diagnostics[0].code == "P011"


def another_value_is_not_matched(folder: Path) -> bool:
    rule = ("one", ANY, statements("a = first(p)\n    ...\n    b = second(p)", "a = b = both(p)\n    ..."))
    return isinstance(converted(folder, rule, body="a = first(x); x = 1; b = second(x)"), Refused)


def llama_is_ported_whole(folder: Path) -> bool:
    outcome = convert_text(LLAMA)
    whole = port_of("llama")
    return isinstance(outcome, Ported) and (outcome.code, outcome.sites) == (whole.code, whole.sites)


def a_rule_that_loses_a_local_is_broken(folder: Path) -> bool:
    refused = converted(folder, ("one", ANY, statements("x = first(p)", "first(p)")))
    return isinstance(refused, Refused) and refused.diagnostics[0].code == "P030"


def a_hidden_name_keeps_a_rule_away(folder: Path) -> bool:
    place = "        down_proj = self.down_proj("
    text = varied((place, f"        torch_npu = 2\n{place}"))
    return "swiglu" not in rules_of(accepted(convert_text(text)))


def a_part_in_use_is_not_merged(folder: Path) -> bool:
    place = "        hidden_states = self.mlp(hidden_states)\n"
    text = varied((place, f"{place}        hidden_states += self.self_attn.q_proj.bias\n"))
    return "merge_qkv" not in rules_of(accepted(convert_text(text)))


def two_rules_for_one_place_are_refused(folder: Path) -> bool:
    refused = converted(folder, FIRST, BOTH)
    return isinstance(refused, Refused) and refused.diagnostics[0].code == "P201"


def a_sum_stays_one_operand(folder: Path) -> bool:
    ported = converted(folder, ("one", EXPRESSION, statements("third(p)", "-p")), body="x = third(x + 1)")
    return "x = -(x + 1)\n" in accepted(ported).code


def a_comment_in_what_goes_survives(folder: Path) -> bool:
    rule = ("one", EXPRESSION, statements("third(p)", "quick(p)"))
    body = "x = third(  # HERE\n            x)"
    ported = accepted(converted(folder, rule, body=body))
    return not lost_comments("# HERE\n", ported)


def every_name_of_the_port_is_defined(folder: Path) -> bool:
    return not undefined(accepted(convert_text(LLAMA)).code)


def what_nothing_calls_any_more_goes(folder: Path) -> bool:
    return "def repeat_kv" not in accepted(convert_text(LLAMA)).code


# -- what is wrong


def all_zero(function: Any, stored: Any, versions: dict[Any, int], *_: Any) -> None:
    """Every name is the value its function was called with."""


def no_comments(*_: Any) -> Iterator[Any]:
    return iter(())


MUTATIONS: dict[str, tuple[tuple[str, ...], Callable[..., Any], Holds]] = {
    "source: every file is UTF-8": (
        ("porter.source.read._declared_encoding",),
        lambda *_: "utf-8",
        bytes_are_read_as_declared,
    ),
    "source: Python is not asked": (
        ("porter.tree.parse.without_last_definitions",),
        lambda text, *_: text,
        a_syntax_error_is_pythons_own,
    ),
    "tree: a name has one value": (("porter.tree.module.number_names",), all_zero, another_value_is_not_matched),
    "anatomy: no class has a role": (
        ("porter.anatomy.read.read_roles",),
        lambda tree, reached, members, bases, causal: {causal: "causal"},
        llama_is_ported_whole,
    ),
    "rulebook: no rule is broken": (
        ("porter.rulebook.load.fault_of_pair",),
        lambda *_: None,
        a_rule_that_loses_a_local_is_broken,
    ),
    "match: everything is sound": (("porter.match.search.unsound",), lambda *_: None, a_hidden_name_keeps_a_rule_away),
    "match: every merge holds": (("porter.match.search.broken_merges",), lambda *_: (), a_part_in_use_is_not_merged),
    "plan: nothing is settled": (
        ("porter.plan.plan.settle",),
        lambda applications, tree: tuple(applications),
        two_rules_for_one_place_are_refused,
    ),
    "rewrite: no parentheses": (
        ("porter.rewrite.fill.fitted", "porter.rewrite.collect.fitted"),
        lambda node, *_: node,
        a_sum_stays_one_operand,
    ),
    "rewrite: no comments": (("porter.rewrite.collect.comments_of",), no_comments, a_comment_in_what_goes_survives),
    "rewrite: no imports": (("porter.rewrite.rewrite.needed_by",), lambda *_: {}, every_name_of_the_port_is_defined),
    "rewrite: nothing is dead": (
        ("porter.rewrite.rewrite.find_dead",),
        lambda *_: Dead((), frozenset()),
        what_nothing_calls_any_more_goes,
    ),
}


@pytest.mark.parametrize(("targets", "wrong", "holds"), MUTATIONS.values(), ids=MUTATIONS)
def test_a_room_that_is_wrong_is_found_out(monkeypatch, tmp_path, targets, wrong, holds):
    assert holds(tmp_path / "right")
    for target in targets:
        room, _, name = target.rpartition(".")
        monkeypatch.setattr(import_module(room), name, wrong)  # a room may offer a function of the module's own name
    try:
        still_holds = holds(tmp_path / "wrong")
    except AssertionError:  # an edit that could not be made, a port that was refused
        still_holds = False
    assert not still_holds

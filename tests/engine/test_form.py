"""The form of a rule: what it leaves unsaid, because the text of the rule says it; and that it stays small."""

from __future__ import annotations

import dataclasses

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.rule import Edit, Rule
from porter.rulebook import LoadedRule, load_rules
from porter.shipped import shipped
from tests.engine.sources import accepted, free_standing, loaded_rule, rules_of, write_rule
from tests.engine.test_plan import MODEL, NEEDED, NEEDY, NORMED, statements

AT_ATTENTION = 'Rule(edits=(Edit(site="attention.forward"),))'
MARKS = "from porter.rule import Argument, Varying\n\n\n"


@pytest.fixture(scope="module")
def rulebook() -> dict[str, LoadedRule]:
    rules = load_rules(shipped("rules"))
    assert not isinstance(rules, Refused)
    return {rule.name: rule for rule in rules}


@pytest.fixture
def attention(tmp_path):
    """What becomes of an attention that does `lines`, by one rule: its status and the reason."""

    def run(lines: str, functions: str, declaration: str = AT_ATTENTION) -> tuple[str, str]:
        write_rule(tmp_path / "rules", MARKS + functions, "trial", declaration)
        other = statements("return self.attn(p)", "return fast(self.attn(p))", "self, p")
        write_rule(tmp_path / "rules", other, "other", 'Rule(edits=(Edit(site="layer.forward"),))')
        model = MODEL.replace("x = first(x)\n        x = second(x)", lines.replace("\n", "\n        "))
        ported = accepted(convert(free_standing(model), name="tiny", rules_directory=tmp_path / "rules"))
        site = next(site for site in ported.sites if site.kind == "attention")
        return site.status, site.reason or ""

    return run


# -- how small it is


def test_the_form_is_learnt_in_a_quarter_of_an_hour():
    assert len(dataclasses.fields(Rule)) <= 12 and len(dataclasses.fields(Edit)) <= 7


@pytest.mark.parametrize("form", [Rule, Edit], ids=lambda form: form.__name__)
def test_no_field_is_without_a_rule_that_uses_it(rulebook, form):
    declared = [rule.declared for rule in rulebook.values()]
    given = declared if form is Rule else [edit for rule in declared for edit in rule.edits]
    unset = form()
    idle = {each.name for each in dataclasses.fields(form)}
    idle -= {name for name in idle if any(getattr(one, name) != getattr(unset, name) for one in given)}
    assert not idle


# -- what the signature says of a metavariable

TAKES = "def before{}(self, {}):\n    x = {}(p)\n\n\n"
AFTER = "def after(self, p):\n    x = fast(p)\n"
PLAIN = TAKES.format("", "p: Argument", "first") + AFTER


def test_an_argument_is_a_parameter_as_it_came_in(attention):
    assert attention("x = first(x)", PLAIN)[0] == "ported"
    status, reason = attention("z = other(x)\nx = first(z)", PLAIN)
    assert (status, reason) == ("left", "trial: `z` is not the function's parameter as it came in")
    assert attention("x = other(x)\nx = first(x)", PLAIN)[0] == "left"
    assert attention("z = other(x)\nx = first(z)", PLAIN.replace(": Argument", ""))[0] == "ported"


def test_what_one_spelling_says_holds_in_all(attention):
    both = PLAIN + "\n\n" + TAKES.format("__second", "p", "second")
    assert attention("x = second(x)", both)[0] == "ported"
    assert attention("z = other(x)\nx = second(z)", both)[0] == "left"


def test_what_varies_depends_on_the_input(attention):
    rule = PLAIN.replace("Argument", "Varying")
    assert attention("z = other(x)\nx = first(z)", rule)[0] == "ported"
    status, reason = attention("x = first(self.q)", rule)
    assert (status, reason) == ("left", "trial: `self.q` does not depend on the input")


SAID = {
    "as a text": ("", '"Argument"', "left"),
    "by its module": ("import porter.rule\n\n\n", "porter.rule.Argument", "left"),
    "by another name": ("from porter.rule import Argument as Given\n\n\n", "Given", "left"),
    "of another module": ("from elsewhere import Varying as Other\n\n\n", "Other", "ported"),
    "of Python": ("", "int", "ported"),
}


@pytest.mark.parametrize(("imports", "annotation", "status"), SAID.values(), ids=SAID)
def test_an_annotation_is_what_its_import_means(attention, imports, annotation, status):
    rule = imports + PLAIN.replace("Argument", annotation)
    assert attention("z = other(x)\nx = first(z)", rule)[0] == status


@pytest.mark.parametrize("annotation", ["Argument | None", "list[Argument]", '"Argumnt"', "forms.Argument"])
def test_a_mark_that_would_be_lost_is_refused(tmp_path, annotation):
    write_rule(tmp_path, MARKS + PLAIN.replace(": Argument", f": {annotation}"), "trial", AT_ATTENTION)
    refused = load_rules(tmp_path)
    assert isinstance(refused, Refused)
    message = refused.diagnostics[0].message
    assert f"`before` says that `p` is `{annotation}`" in message
    assert message.endswith(("a mark stands alone", "import `Argument` or `Varying` from `porter.rule`"))


def test_a_mark_is_no_code_of_the_pattern(tmp_path):
    (pattern,) = loaded_rule(write_rule(tmp_path, MARKS + PLAIN, "trial", AT_ATTENTION)).edits[0].patterns
    assert pattern.arguments == ("p",) and pattern.varying == ()
    assert not pattern.meanings and "Argument" not in pattern.named


# -- what code that stays may not use

DROPS = "def before(p):\n    y = first(p)\n    x = second(y)\n\n\ndef after(p):\n    x = both(p)\n"
UNREAD = "def before(p):\n    _, x = first(p)\n\n\ndef after(p):\n    x, _ = both(p)\n"


@pytest.mark.parametrize(
    ("functions", "lines"),
    [(DROPS, "y = first(x)\nx = second(y)"), (UNREAD, "y, x = first(x)")],
    ids=["what after does not bind", "what nobody reads by its name"],
)
def test_a_local_is_private_without_a_word(attention, functions, lines):
    assert attention(lines, functions)[0] == "ported"
    status, reason = attention(f"{lines}\nx = x + y", functions)
    assert status == "left" and "`y` is used here" in reason


def test_a_rule_that_leaves_nothing_of_what_it_matches_is_a_slip(tmp_path):
    text = "def before(p):\n    x = first(p)\n\n\ndef after(p):\n    y = fast(p)\n"
    write_rule(tmp_path, text, "trial")
    refused = load_rules(tmp_path)
    assert isinstance(refused, Refused) and "`before` assigns x and `after` does not" in refused.diagnostics[0].message
    write_rule(tmp_path, text, "trial", 'Rule(edits=(Edit(private=("x",)),))')
    assert not isinstance(load_rules(tmp_path), Refused)


# -- what several edits say together


@pytest.mark.parametrize(
    ("sites", "everywhere"),
    [
        (("norm.forward", "norm.__init__"), False),
        (("*.forward", "*.__init__"), False),
        (("function",), False),
        (("layer.forward", "model.forward"), True),
        (("attention.forward", "*"), True),
        (("function", "activation.forward"), True),
    ],
)
def test_edits_at_several_kinds_of_classes_are_everywhere_or_nowhere(tmp_path, sites, everywhere):
    edits = "".join(f'Edit("e{number}", site="{site}"), ' for number, site in enumerate(sites))
    functions = "".join(
        statements("x = first(p)", "x = fast(p)").replace("before", f"before_e{n}").replace("after", f"after_e{n}")
        for n, _ in enumerate(sites)
    )
    assert loaded_rule(write_rule(tmp_path, functions, "trial", f"Rule(edits=({edits}))")).is_of_module is everywhere


def test_the_needs_of_a_rule_are_those_of_its_edits(rulebook):
    assert rulebook["attention_latent_complex"].needs == ("kernel", "rotary_scaling", "rotation")
    assert rulebook["norm_rms_residual"].needs == ("norm", "norm_with_residual")
    assert rulebook["logits_last"].needs == ("logits_last",)


def test_words_and_takers_of_a_rule_are_those_of_its_edits(rulebook):
    assert set(rulebook["attention_alibi"].carried) == {"mask", "alibi"}
    assert rulebook["router_softmax"].takers == ("experts", "moe")
    assert rulebook["swiglu"].carried == rulebook["swiglu"].takers == ()


def test_sizes_of_merged_rows_are_named_where_an_after_sets_them(rulebook):
    assert rulebook["merge_qkv"].merges == (("qkv", ("q_proj", "k_proj", "v_proj"), "qkv_sizes"),)
    assert rulebook["swiglu"].merges == (("gate_up", ("gate_proj", "up_proj"), None),)


PLAIN_NORM = ("plain", 'Rule(edits=(Edit(site="norm.forward", unit="function"),))')


def test_a_rule_that_is_required_has_the_code_before_one_that_applies_by_itself(tmp_path):
    plain = (*PLAIN_NORM, statements("return torch.rsqrt(p)", "return other_rsqrt(p)", "self, p"))

    def rules(model: str) -> set[str]:
        for name, declaration, functions in (NEEDY, NEEDED, plain):
            write_rule(tmp_path / "rules", functions, name, declaration)
        return rules_of(accepted(convert(free_standing(model), name="tiny", rules_directory=tmp_path / "rules")))

    assert rules(NORMED) == {"needy", "needed"}
    assert rules(MODEL) == {"plain"}

"""What must not matter does not, whatever it is: layout, comments and names drawn at random."""

from __future__ import annotations

import ast
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.sources import convert_text, port, port_of, rules_of, text_of, varied

QUICK = settings(max_examples=15, deadline=None)
TREE = ast.parse(text_of("llama"))
LINES = text_of("llama").splitlines(keepends=True)
# Statements on lines of their own: where a comment or a blank line may stand before.
PLACES = sorted({node.lineno for node in ast.walk(TREE) if isinstance(node, ast.stmt)} - {1})
CALLS = [node for node in ast.walk(TREE) if isinstance(node, ast.Call) and node.lineno == node.end_lineno]
NORM = "        input_dtype = hidden_states.dtype\n"
LOCALS = ("input_dtype", "hidden_states", "variance")
START = text_of("llama").index("    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:\n")
END = text_of("llama").index("    def extra_repr")
FORWARD = text_of("llama")[START:END]


def sites(text: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(site.name, site.rules) for site in port(text).sites]


LLAMA = [(site.name, site.rules) for site in port_of("llama").sites]


@QUICK
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(["\n", "# a comment\n", "\n\n\n"])), max_size=30))
def test_comments_and_blank_lines_never_change_which_rules_apply(inserted):
    lines = list(LINES)
    for place, text in sorted(inserted, reverse=True):
        indent = re.match(" *", lines[place - 1]).group()
        decorated = place > 1 and lines[place - 2].lstrip().startswith("@")
        if not decorated:
            lines.insert(place - 1, indent + text if text.startswith("#") else text)
    assert sites("".join(lines)) == LLAMA


@QUICK
@given(st.sets(st.sampled_from(range(len(CALLS))), max_size=20))
def test_parentheses_never_change_which_rules_apply(chosen):
    lines = [line.encode() for line in LINES]
    edits = sorted(
        (
            at
            for i in chosen
            for at in ((CALLS[i].lineno, CALLS[i].end_col_offset, b")"), (CALLS[i].lineno, CALLS[i].col_offset, b"("))
        ),
        reverse=True,
    )
    decorators = {node.lineno for f in ast.walk(TREE) for node in getattr(f, "decorator_list", ())}
    for line, column, text in edits:
        if line not in decorators:
            lines[line - 1] = lines[line - 1][:column] + text + lines[line - 1][column:]
    assert sites(b"".join(lines).decode()) == LLAMA


NAMES = st.from_regex(r"[a-z]{3,8}", fullmatch=True)


@QUICK
@given(st.lists(NAMES, min_size=3, max_size=3, unique=True))
def test_locals_renamed_throughout_keep_the_match(names):
    renamed = FORWARD
    for old, new in zip(LOCALS, names, strict=True):
        renamed = re.sub(rf"\b{old}\b", f"{new}_", renamed)
    assert sites(varied((FORWARD, renamed))) == LLAMA


USES = [m.start() for m in re.finditer(r"\bvariance\b|\binput_dtype\b", FORWARD)]


@QUICK
@given(st.sampled_from(USES))
def test_a_local_renamed_in_one_place_loses_the_match(place):
    renamed = FORWARD[:place] + "other" + re.sub(r"^\w+", "", FORWARD[place:])
    ported = convert_text(varied((FORWARD, renamed)))
    assert "norm_rms_residual" not in rules_of(ported)

"""A diagnostic as text: compared whole, as a reader sees it."""

from __future__ import annotations

import json

import pytest

from porter.diagnostics import Diagnostic, Span
from porter.report.diagnostic import render, to_json

NORM = "        return (self.weight.to(torch.float32) * hidden_states).to(input_dtype)"
CARETS = " " * 15 + "^" * 63


def _on(line: str, start: int, end: int, label: str = "here", *, end_line: int = 1) -> tuple[Diagnostic, str]:
    return Diagnostic("P100", "wrong", Span("m.py", 1, start, end_line, end), label), line + "\nnext(line)\n"


def test_the_form_the_design_shows():
    span = Span("nemotron_h/modeling_nemotron_h.py", 631, 15, 631, 78)
    diagnostic = Diagnostic(
        "P102",
        "no rule matches `NemotronHRMSNorm.forward`",
        span,
        "expected `self.weight * x.to(dtype)`",
        notes=("closest: rules/norm_rms.py:13 before, 4 of 5 statements match",),
        help="write a rule for this spelling, or keep the source's code with `--keep NemotronHRMSNorm.forward`",
    )
    assert render(diagnostic, "\n" * 630 + NORM) == (
        "error[P102]: no rule matches `NemotronHRMSNorm.forward`\n"
        "   --> nemotron_h/modeling_nemotron_h.py:631:16\n"
        "    |\n"
        "631 |         return (self.weight.to(torch.float32) * hidden_states).to(input_dtype)\n"
        f"    | {CARETS} expected `self.weight * x.to(dtype)`\n"
        "    = closest: rules/norm_rms.py:13 before, 4 of 5 statements match\n"
        "    = help: write a rule for this spelling, or keep the source's code with `--keep NemotronHRMSNorm.forward`"
    )


def test_without_a_place():
    diagnostic = Diagnostic("P010", "it is there already", help="use `--force`", severity="warning")
    assert render(diagnostic) == "warning[P010]: it is there already\n  = help: use `--force`"


def test_lines_of_a_long_help_hang_under_its_beginning():
    assert render(Diagnostic("P1", "m", help="one\ntwo")) == "error[P1]: m\n  = help: one\n    two"


def test_the_file_is_read_when_no_text_is_given(tmp_path):
    path = tmp_path / "m.py"
    path.write_text("a\nb = c\n")
    assert render(Diagnostic("P1", "m", Span(str(path), 2, 4, 2, 5), "what is c?")) == (
        f"error[P1]: m\n --> {path}:2:5\n  |\n2 | b = c\n  |     ^ what is c?"
    )


@pytest.mark.parametrize(("path", "text"), [("gone.py", None), ("gone\0.py", None), ("m.py", "one line"), ("m.py", "")])
def test_a_place_that_is_gone_costs_only_the_excerpt(path, text):
    diagnostic = Diagnostic("P1", "m", Span(path, 7, 4, 7, 5), "label", help="do this")
    assert render(diagnostic, text) == f"error[P1]: m\n --> {path}:7:5\n  = label\n  = help: do this"


@pytest.mark.parametrize(
    ("case", "source", "carets"),
    [
        (_on("x = f(y)", 4, 8), "x = f(y)", "    ^^^^ here"),
        (_on("x = f(y)", 4, 4), "x = f(y)", "    ^ here"),
        (_on("x = f(y)", 99, 120), "x = f(y)", "        ^ here"),
        (_on("x = f(y)", 4, 8, "one\ntwo"), "x = f(y)", "    ^^^^ one\n  |          two"),
        (_on("x = f(y)", 4, 8, ""), "x = f(y)", "    ^^^^"),
        (_on("x = f(  # why", 4, 5, end_line=3), "x = f(  # why", "    ^^^^^^^^^ here"),
        (_on("x = 1   ", 7, 2, end_line=2), "x = 1", "       ^ here"),
        (_on("\tx\t= y", 1, 2), "    x    = y", "    ^ here"),
        (_on("'模型' + x", 0, 4), "'模型' + x", "^^^^^^ here"),
        (_on("'模型' + x", 7, 8), "'模型' + x", "         ^ here"),
        (_on("'e\u0301' + x", 7, 8), "'e\u0301' + x", "      ^ here"),
        (_on("a\x0cb", 2, 3), "a\ufffdb", "  ^ here"),
        (_on("'\x1b[31m'", 0, 1), "'\ufffd[31m'", "^ here"),
    ],
    ids=[
        "a span",
        "an empty span is one caret",
        "a span past the end of its line",
        "a label of two lines",
        "no label",
        "several lines: the first to its end",
        "several lines, from the end of the first",
        "tabs",
        "wide characters are two carets each",
        "after wide characters",
        "after a combining mark",
        "a form feed does not end a line",
        "no escape reaches the terminal",
    ],
)
def test_carets(case, source, carets):
    diagnostic, text = case
    column = diagnostic.span.column + 1
    assert render(diagnostic, text) == (f"error[P100]: wrong\n --> m.py:1:{column}\n  |\n1 | {source}\n  | {carets}")


def test_crlf_is_no_part_of_the_line():
    assert render(Diagnostic("P1", "m", Span("m.py", 2, 0, 2, 1)), "a\r\nbc\r\n").endswith("\n2 | bc\n  | ^")


@pytest.mark.parametrize("column", [0, 40, 150, 300, 590])
def test_a_long_line_is_cut_around_the_caret(column):
    line = "".join(f"{place:10}" for place in range(60))
    text = render(Diagnostic("P1", "m", Span("m.py", 1, column, 1, column + 10)), line)
    source, carets = (part[4:] for part in text.split("\n")[-2:])
    assert len(source) <= 120
    assert carets.strip() == "^" * 10
    start = len(carets) - 10
    assert source[start : start + 10] == f"{column // 10:10}"
    assert source.startswith("...") == (column > 60)
    assert source.endswith("...") == (column < 530)


def test_a_long_span_is_cut_too():
    source, carets = render(Diagnostic("P1", "m", Span("m.py", 1, 4, 1, 400)), "x = " + "y" * 400).split("\n")[-2:]
    assert source == "1 | x = " + "y" * 97 + "..."
    assert carets == "  |     " + "^" * 100


def test_json_counts_columns_as_the_text_does():
    diagnostic = Diagnostic("P1", "m", Span("m.py", 2, 4, 3, 5), "l", ("n",), "h")
    assert json.loads(json.dumps(to_json(diagnostic))) == {
        "severity": "error",
        "code": "P1",
        "message": "m",
        "span": {"path": "m.py", "line": 2, "column": 5, "end_line": 3, "end_column": 6},
        "label": "l",
        "notes": ["n"],
        "help": "h",
    }


def test_json_without_a_place():
    assert to_json(Diagnostic("P1", "m"))["span"] is None

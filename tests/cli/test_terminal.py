"""What a person sees: a real terminal of 80 and of 120 columns, and what stands in a pipe instead."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from porter.diagnostics import Diagnostic, Span
from porter.report.blocks import Code, Row, Table, Words, plain
from porter.report.diagnostic import render
from porter.report.painted import painted
from porter.report.wrapped import wrapped

MAMBA = "transformers.models.mamba"
RED, YELLOW = "\x1b[1;31m", "\x1b[33m"


@pytest.fixture
def screen(environment, tmp_path) -> Callable[..., str]:
    """What a command writes to a terminal of so many columns, stdout and stderr alike."""

    def run(words: str, width: int, **extra: str) -> str:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        own = {name: value for name, value in environment.items() if name not in ("NO_COLOR", "COLUMNS")}
        process = subprocess.Popen(
            [sys.executable, "-m", "porter", *words.split()],
            stdout=theirs,
            stderr=theirs,
            env={**own, "TERM": "xterm", **extra},
            cwd=tmp_path,
        )
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            parts.append(part)
        process.wait()
        os.close(ours)
        return b"".join(parts).decode().replace("\r\n", "\n")

    return run


def shown(text: str) -> list[str]:
    """The lines without colours."""
    from rich.text import Text

    return Text.from_ansi(text).plain.split("\n")


@pytest.mark.parametrize(
    ("words", "width"),
    [
        (f"inspect {MAMBA}", 80),
        (f"inspect {MAMBA} --why", 80),
        (f"why {MAMBA} MambaBlock", 80),
        ("doctor", 80),
        ("rules", 80),
        ("rules", 120),
    ],
)
def test_every_line_fits_and_every_word_is_there(screen, porter_here, words, width):
    text = screen(words, width)
    assert max(map(len, shown(text))) <= width
    piped = porter_here(*words.split()).out
    if words in ("rules", "doctor", f"inspect {MAMBA}"):
        assert _letters("\n".join(shown(text))) == _letters(piped)


def _letters(text: str) -> list[str]:
    """Which letters there are, wherever lines end."""
    return sorted(letter for letter in text if not letter.isspace())


def test_what_is_left_is_coloured_and_no_color_takes_every_escape_away(screen):
    coloured = screen(f"inspect {MAMBA}", 80)
    assert any(line.startswith(f"{YELLOW}MambaMixer.forward") for line in coloured.split("\n"))
    bare = screen(f"inspect {MAMBA}", 80, NO_COLOR="1")
    assert "\x1b" not in bare and bare.split("\n") == shown(coloured)
    assert "\x1b" not in screen("inspect transformers.models.lama", 80, TERM="dumb")


def test_in_a_pipe_a_row_is_a_line_however_narrow_the_terminal_is(porter_here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lines = porter_here("rules").out.split("\n")
    (row,) = [line for line in lines if line.startswith("router_softmax_biased ")]
    assert row.endswith("npu_moe_gating_top_k") and len(row) > 120
    assert "\x1b" not in "".join(lines)


LONG = "a reason that goes on " * 8
TABLE = Table(
    ("site", "kind", "line", "why"),
    (Row(("AVeryLongClassNameOfAModel.forward", "norm", "61", LONG.strip()), "bad"), Row(("X", "mlp", "1200", "ok"))),
    frozenset({2}),
)


def test_prose_narrows_before_names_are_broken():
    lines = painted([TABLE], 80, colour=False).split("\n")
    assert lines[0].split() == ["site", "kind", "line", "why"] and max(map(len, lines)) <= 80
    assert lines[1].startswith("AVeryLongClassNameOfAModel.forward  norm    61  a reason that goes on a")
    assert lines[-1].startswith("X ") and len(lines) > 5
    narrow = painted([TABLE], 40, colour=False)
    assert max(map(len, narrow.split("\n"))) <= 40 and _letters(narrow) == _letters(plain([TABLE]))
    assert painted([TABLE], 400, colour=False) == plain([TABLE])


def test_a_row_that_failed_is_red_in_all_its_lines():
    lines = painted([TABLE], 80, colour=True).split("\n")
    assert all(RED in line for line in lines[1:-1]) and "\x1b" not in lines[-1]


def test_blocks_stand_apart_and_code_stands_as_it_is():
    code = "x = 1" + " + 1" * 30
    report = ["head", Words("wrong here", "bad"), Code(code)]
    assert plain(report) == f"head\n\nwrong here\n\n{code}"
    assert painted(report, 40, colour=True) == f"head\n\n{RED}wrong here\x1b[0m\n\n{code}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("one two three four", ["one two", "three four"]),
        ("  one two three", ["  one two", "  three"]),
        ("ab  one two three", ["ab  one two", "    three"]),
        ("a: one two three", ["a: one two", "   three"]),
        ("Said: one two three", ["Said: one", "two three"]),
        ("abcdefghijklmnop", ["abcdefghijkl", "mnop"]),
        ("short", ["short"]),
    ],
)
def test_lines_are_wrapped_between_words(line, expected):
    assert wrapped(line, 12) == expected


def test_a_diagnostic_is_as_wide_as_the_terminal(tmp_path: Path):
    line = "    return self.weight * hidden_states.to(torch.float32) + another_name_that_is_long(hidden_states, mask)"
    span = Span("modeling_x.py", 7, 11, 7, 56)
    diagnostic = Diagnostic(
        "P102", "no rule matches `X.forward`, " + LONG, span, "asks for another thing " * 4, ("a note " * 20,), LONG
    )
    text = "\n" * 6 + line
    for width in (60, 80, 120):
        lines = render(diagnostic, text, width).split("\n")
        assert max(map(len, lines)) <= width
        (marked,) = [index for index, each in enumerate(lines) if "^" in each]
        carets = lines[marked]
        start, end = carets.index("^"), carets.rindex("^") + 1
        there = lines[marked - 1][start:end]
        assert there == (line[11:56] if width > 60 else f"{line[11:44]}..."), "cut where it does not fit"
        assert "asks for another thing asks" in " ".join(" ".join(lines[marked:]).split())
    assert render(diagnostic, text).split("\n")[0].endswith(LONG.rstrip() + " "), "in a pipe a message is one line"


def test_progress_is_on_stderr_and_on_a_terminal_a_bar(screen, porter_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert porter_here("convert", "transformers.models.llama", "--out", "generated_models/mine").code == 0
    done = porter_here("check")
    assert done.err == "checking ...\n" and "checking" not in done.out
    assert "\x1b[?25l" in screen("check", 80), "a bar hides the cursor while it moves"

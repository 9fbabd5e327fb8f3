"""`porter explain`: a line for each page, the page itself, the nearest one; and pages are in the package."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

import porter.cli
from porter.cli.explain import PAGES
from tests.pages.blocks import ROOT


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def explain(capfd):
    def run(*words: str) -> tuple[int, str, str]:
        return (porter.cli.exit_code(["explain", *words]), *capfd.readouterr())

    return run


def test_without_a_topic_each_page_is_a_line(explain):
    code, out, _ = explain()
    topics = sorted(path.stem for path in PAGES.glob("*.md"))
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == topics
    assert all(len(line.split(None, 1)[1]) > 10 and len(line) <= 80 for line in out.splitlines())
    assert json.loads(explain("--json")[1])["pages"]["rules"] == "A rule is two functions"


def test_in_a_pipe_a_page_is_its_markdown(explain):
    for path in PAGES.glob("*.md"):
        assert explain(path.stem)[1].rstrip("\n") == path.read_text(encoding="utf-8").rstrip("\n")
    document = json.loads(explain("ops", "--json")[1])
    assert document["page"] == "ops" and document["text"].startswith("# The NPU ops")


@pytest.mark.parametrize(("said", "meant"), [("own-rule", "own-rules"), ("rule", "rules"), ("diagnose", "diagnostics")])
def test_a_mistyped_topic_gives_the_nearest(explain, said, meant):
    code, out, err = explain(said)
    assert (code, out) == (1, "") and err.startswith(f"error[P037]: no page `{said}`")
    assert f"did you mean `{meant}`" in err or f"or `{meant}`" in err
    assert f"there are {', '.join(sorted(path.stem for path in PAGES.glob('*.md')))}" in explain("xyzzy")[2]


def test_on_a_terminal_a_page_is_laid_out(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert porter.cli.exit_code(["explain", "rules"]) == 0
    text = sys.stdout.getvalue()
    assert "A rule is two functions" in text and "\x1b[" in text
    assert "```" not in text and "|---|" not in text and "## " not in text
    plain = "".join(part.partition("m")[2] if number else part for number, part in enumerate(text.split("\x1b[")))
    assert max(map(len, plain.split("\n"))) <= 80 and "self.weight * x.to(dtype)" in plain


def test_an_unwritable_terminal_is_not_a_traceback():
    command = [sys.executable, "-m", "porter", "explain", "rules"]
    with open("/dev/full", "w") as full:
        options = {"stdout": full, "stderr": subprocess.PIPE, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
        done = subprocess.run(command, text=True, **options)
    assert done.returncode == 1 and "P144" in done.stderr


def test_no_page_is_longer_than_one_reads():
    assert all(len(path.read_text(encoding="utf-8").split("\n")) < 300 for path in PAGES.glob("*.md"))
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split("\n")) <= 120

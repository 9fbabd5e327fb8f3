"""The diff: a hunk per rule application, and real git makes the port of it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.convert import convert
from porter.emit import render_port
from porter.emit.diff import diff
from porter.rewrite import IMPORTS, PARTS, Change, Ported
from porter.source import Source, load_source
from tests.emit.conftest import PLACE


def _applied(old: str, patch: str, folder: Path, path: str = "m/f.py") -> str:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(old.encode())
    if patch:
        subprocess.run(["git", "apply", "-"], input=patch.encode(), cwd=folder, check=True, capture_output=True)
    return file.read_bytes().decode()


def _labels(patch: str) -> list[str]:
    return [line.split(" @@ ", 1)[1] for line in patch.split("\n") if line.startswith("@@ ")]


def _numbered(count: int) -> list[str]:
    return [f"line {number}\n" for number in range(1, count + 1)]


def _change(name: str, start: int, end: int) -> Change:
    return Change(None, "S", start, end, name) if name in PARTS else Change(name, "S", start, end)


def _edited(lines: list[str], *edits: tuple[int, int, str]) -> str:
    """Old lines start..end (end < start inserts) become the text; edits from last to first."""
    lines = list(lines)
    for start, end, text in sorted(edits, reverse=True):
        lines[start - 1 : end] = [text] if text else []
    return "".join(lines)


def test_a_port(ported, tmp_path):
    files = render_port(ported, PLACE).files
    patch = files["port.diff"].decode()
    assert patch.startswith("--- a/tiny/modeling_tiny.py\n+++ b/tiny/modeling_tiny.py\n@@ -1,")
    assert _labels(patch) == [IMPORTS, "norm TinyNorm.forward", "swiglu TinyMLP.forward"]
    port = _applied(ported.source.text, patch, tmp_path, ported.source.display)
    assert port == files["modeling_tiny.py"].decode()


def test_whole_text():
    lines = _numbered(12)
    new = _edited(lines, (4, 4, "FOUR\n"), (9, 8, "NEW\n"))
    assert diff("".join(lines), new, [Change("a", "X.f", 4, 4), Change("b", "Y.g", 9, 8)], "m/f.py") == (
        "--- a/m/f.py\n"
        "+++ b/m/f.py\n"
        "@@ -1,6 +1,6 @@ a X.f\n"
        " line 1\n line 2\n line 3\n-line 4\n+FOUR\n line 5\n line 6\n"
        "@@ -7,5 +7,6 @@ b Y.g\n"
        " line 7\n line 8\n+NEW\n line 9\n line 10\n line 11\n"
    )


@pytest.mark.parametrize(
    ("edits", "changes", "labels"),
    [
        ([(4, 4, "x\n"), (6, 6, "y\n")], [("a", 4, 4), ("b", 6, 6)], ["a S", "b S"]),
        ([(4, 4, "x\n"), (5, 5, "y\n")], [("a", 4, 4), ("b", 5, 5)], ["a S; b S"]),
        ([(4, 4, "x\n"), (8, 8, "y\n")], [("a", 4, 8)], ["a S"]),
        ([(4, 4, "x\n"), (6, 6, "y\n"), (8, 8, "z\n")], [("a", 4, 8), ("b", 6, 6)], ["a S; b S"]),
        ([(1, 1, "x\n"), (10, 10, "y\n")], [], [IMPORTS, IMPORTS]),
        ([(1, 1, "x\n"), (3, 3, "y\n")], [], [IMPORTS]),
        ([(1, 1, "x\n"), (3, 3, "y\n")], [("a", 3, 3)], [IMPORTS, "a S"]),
        ([(1, 1, "x\n"), (3, 3, "y\n")], [("unused", 1, 1), ("a", 3, 3)], ["unused S", "a S"]),
        ([(4, 6, "")], [("a", 4, 6)], ["a S"]),
        ([(1, 0, "x\n")], [("a", 1, 0)], ["a S"]),
        ([(13, 12, "x\n")], [("a", 13, 12)], ["a S"]),
        ([(12, 12, "x\n")], [("a", 12, 12)], ["a S"]),
        ([(2, 2, "x\n"), (5, 4, "y\n")], [("a", 2, 4), ("b", 5, 4)], ["a S", "b S"]),
        ([], [], []),
    ],
    ids=[
        "one line between: two hunks",
        "touching: one hunk names both",
        "one application, two stretches: one hunk",
        "one inside the other: one hunk names both",
        "no rule's, far apart",
        "no rule's, close together",
        "no rule's next to a rule's",
        "no rule's, named by what it is",
        "a deletion",
        "an insertion at the beginning",
        "an insertion at the end",
        "the last line",
        "an insertion behind lines that a rule took and left as they are",
        "nothing",
    ],
)
def test_hunks(edits, changes, labels, tmp_path):
    lines = _numbered(12)
    old, new = "".join(lines), _edited(lines, *edits)
    patch = diff(old, new, [_change(*change) for change in changes], "m/f.py")
    assert _labels(patch) == labels
    assert _applied(old, patch, tmp_path) == new


def test_an_insertion_among_look_alikes_is_where_the_rule_put_it(tmp_path):
    lines = ["def a():\n", "    pass\n", "\n", "def b():\n", "    pass\n", "\n", "x = 1\n"]
    new = _edited(lines, (4, 3, "def n():\n    pass\n\n"))
    patch = diff("".join(lines), new, [Change("a", "S", 4, 3)], "m/f.py")
    assert "\n def b" in patch and "+def n():\n+    pass\n+\n" in patch
    assert _labels(patch) == ["a S"]
    assert _applied("".join(lines), patch, tmp_path) == new


@pytest.mark.parametrize("old", ["a\nb\nc", "a\nb\nc\n", "a\r\nb\r\nc\r\n", "a\n\x0cb\u2028\nc\n"])
@pytest.mark.parametrize("new", ["a\nX\nc", "a\nX\nc\n", "a\r\nX\r\nc\r\n", "b", "\n"])
def test_line_ends(old, new, tmp_path):
    assert _applied(old, diff(old, new, [], "m/f.py"), tmp_path) == new


def test_a_path_with_a_blank(tmp_path):
    assert _applied("a\n", diff("a\n", "b\n", [], "my ckpt/f.py"), tmp_path, "my ckpt/f.py") == "b\n"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_git_takes_whatever_the_rules_did(tmp_path_factory, data):
    words = st.sampled_from(["a\n", "b\n", "\n", "    x\n"])  # few, so that look-alikes abound
    old = data.draw(st.lists(words, min_size=1, max_size=25))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(old)), max_size=6)))
    edits, changes = [], []
    for number, (start, end) in enumerate(zip(cuts[::2], cuts[1::2], strict=False)):
        edits.append((start + 1, end, "".join(data.draw(st.lists(words, max_size=4)))))
        if data.draw(st.booleans()):
            changes.append(Change(f"r{number}", "S", start + 1, end))
    new = _edited(old, *edits) or "z\n"
    patch = diff("".join(old), new, changes, "m/f.py")
    assert _applied("".join(old), patch, tmp_path_factory.mktemp("git")) == new


@pytest.mark.parametrize("model", ["llama", "mistral"])
def test_a_real_port(model, tmp_path):
    source = load_source(f"transformers.models.{model}")
    assert isinstance(source, Source)
    ported = convert(source, name=model)
    assert isinstance(ported, Ported)
    files = render_port(ported, PLACE).files
    patch = files["port.diff"].decode()
    port = _applied(ported.source.text, patch, tmp_path, ported.source.display)
    assert port.encode() == files[f"modeling_{model}.py"]
    for change in ported.changes:
        name = change.part if change.rule is None else change.rule
        assert any(f"{name} {change.site}" in label for label in _labels(patch))


def test_what_no_rule_did_is_named_by_what_it_is():
    source = load_source("transformers.models.llama")
    assert isinstance(source, Source)
    ported = convert(source, name="llama")
    assert isinstance(ported, Ported)
    patch = render_port(ported, PLACE).files["port.diff"].decode()
    hunks = [hunk.split("\n", 1) for hunk in patch.split("\n@@ ")[1:]]
    labels = [(head.split(" @@ ")[1], lines) for head, lines in hunks]
    assert {change.part for change in ported.changes if change.rule is None} == {"decorator", "base class", "unused"}
    (parameter,) = [label for label, lines in labels if "\n+        ahead: NormAhead | None = None,\n" in lines]
    assert parameter == "add_norm_across LlamaDecoderLayer.forward"
    (swept,) = [label for label, lines in labels if "\n-def rotate_half(x):\n" in lines]
    assert swept == "unused rotate_half; decorator apply_rotary_pos_emb"
    assert [label for label, _ in labels if IMPORTS in label] == [f"{IMPORTS}; decorator LlamaRMSNorm"]


def test_a_port_that_no_rule_changes(ported):
    unchanged = replace(ported, code=ported.source.text, changes=(), rules=())
    patch = render_port(unchanged, PLACE).files["port.diff"].decode()
    assert _labels(patch) == [IMPORTS]

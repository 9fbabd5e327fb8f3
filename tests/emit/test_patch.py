"""A diff read again: it leads from a port back to its source, and what is no diff of porter's says where."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.emit.diff import diff
from porter.emit.patch import NotADiff, port_of, read_patch, source_of
from porter.emit.templated import with_header, without_header
from tests.emit.conftest import PLACE

PORTS = sorted((Path(__file__).parents[2] / "generated_models").glob("*/port.json"))


@pytest.mark.parametrize("path", PORTS, ids=lambda path: path.parent.name)
def test_a_port_leads_back_to_the_file_it_was_made_from(path):
    account = json.loads(path.read_text())
    hunks = read_patch((path.parent / "port.diff").read_text())
    port = (path.parent / f"{account['module']}.py").read_text()
    source = source_of(port, hunks)
    assert hashlib.sha256(source.encode()).hexdigest() == account["source"]["sha256"]
    assert port_of(source, hunks) == port


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(["a\n", "b\n", "\n", "  x\r\n"]), max_size=20), st.data())
def test_there_and_back(old, data):
    new = data.draw(st.lists(st.sampled_from(["a\n", "b\n", "\n", "c\n", "c"]), max_size=20))
    old_text, new_text = "".join(old), "".join(new)
    hunks = read_patch(diff(old_text, new_text, [], "m/f.py"))
    assert source_of(new_text, hunks) == old_text
    assert port_of(old_text, hunks) == new_text
    for hunk in hunks:
        assert [line.text for line in hunk.lines if line.mark == "-"] != [
            line.text for line in hunk.lines if line.mark == "+"
        ]


WHOLE = diff("a\nb\nc\n", "a\nB\nc\n", [], "m/f.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x\n", "line 1: it does not begin with the names of two files"),
        (WHOLE.replace("@@ -1,3", "@@ 1,3"), "line 3: no hunk begins here"),
        (WHOLE.replace("-1,3 +1,3", "-1,4 +1,4"), "line 3: the hunk ends before its 4 and 4 lines"),
        (WHOLE.replace("-b\n", ""), "line 3: the hunk ends before its 3 and 3 lines"),
        (WHOLE + "x\n", "line 8: no hunk begins here"),
    ],
    ids=["no names", "no head", "too few lines", "a line is gone", "a line too many"],
)
def test_what_is_no_diff_says_where(text, said):
    with pytest.raises(NotADiff, match=said):
        read_patch(text)


def test_a_diff_of_another_text_is_not_applied():
    with pytest.raises(NotADiff, match="the lines from 1 on are not those of the diff"):
        port_of("a\nx\nc\n", read_patch(WHOLE))


def test_the_header_goes_as_it_came(ported):
    assert ported.code in without_header(with_header(ported, PLACE))

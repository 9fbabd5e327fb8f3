"""The picture of the README is what the script draws of today's `port.diff`."""

from __future__ import annotations

from xml.etree import ElementTree

from tests.pages.picture import CHANGES, DIFF, PICTURE, ROOT, draw, shown

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_is_of_todays_diff():
    text = PICTURE.read_text(encoding="utf-8")
    assert text == draw(DIFF.read_text(encoding="utf-8")), "draw it again: python tests/pages/picture.py"
    assert f"]({PICTURE.relative_to(ROOT).as_posix()})" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_each_line_of_it_is_one_of_the_diff_and_each_change_is_there():
    diff = DIFF.read_text(encoding="utf-8")
    drawn = [element.text for element in ElementTree.parse(PICTURE).iter(f"{SVG}text")]
    lines = diff.split("\n")
    for text in drawn:
        assert text in lines or any(line.endswith(f"@@ {text}") for line in lines), text
    assert all(any(change in text for text in drawn) for change in CHANGES)
    assert len([text for text in drawn if text[0] == "+"]) == len([line for line in shown(diff) if line[0] == "+"]) > 10


def test_another_diff_is_another_picture():
    diff = DIFF.read_text(encoding="utf-8")
    assert draw(diff) != draw(diff.replace("npu_swiglu", "npu_other"))

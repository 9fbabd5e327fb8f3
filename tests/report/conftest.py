"""Reviews of the ports that stand in the repository, and a page as a browser's parser sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

from porter.diagnostics import Refused
from porter.report.review.build import review_of
from porter.report.review.opened import open_for_review
from porter.report.review.page import of_page
from porter.report.review.values import Review
from porter.rulebook import LoadedRule, load_rules
from porter.shipped import shipped

ROOT = Path(__file__).parents[2]
PORTS = sorted(path.parent for path in (ROOT / "generated_models").glob("*/port.json"))
_VOID = ("meta", "br", "wbr", "input", "img", "link", "hr")


@cache
def reviewed(folder: Path) -> Review:
    """The review of a port by the rules that came with porter, without records."""
    opened = open_for_review(folder)
    assert not isinstance(opened, Refused)
    return review_of(opened, _book(), [])


@cache
def _book() -> tuple[LoadedRule, ...]:
    book = load_rules(shipped("rules"))
    assert not isinstance(book, Refused)
    return book


@cache
def page_of(folder: Path) -> str:
    return of_page(reviewed(folder))


@dataclass
class Element:
    """A tag with what stands in it."""

    tag: str
    attributes: dict[str, str | None]
    inside: list[Element | str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        return (self.attributes.get("class") or "").split()

    def all(self, tag: str = "", having: str = "") -> list[Element]:
        """Every element below of a tag, with a class, in the order of the page."""
        found: list[Element] = []
        for item in self.inside:
            if isinstance(item, Element):
                if (not tag or item.tag == tag) and (not having or having in item.classes):
                    found.append(item)
                found += item.all(tag, having)
        return found

    @property
    def text(self) -> str:
        return "".join(item if isinstance(item, str) else item.text for item in self.inside)


class _Reader(HTMLParser):
    """Raises where a tag is closed that is not open."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].inside.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].inside.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop().tag == tag, f"</{tag}> closes another, at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def read_page(html: str) -> Element:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert len(reader.open) == 1, f"never closed: {[element.tag for element in reader.open]}"
    return reader.open[0]

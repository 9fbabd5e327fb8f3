"""`porter explain`: the pages that travel with porter."""

from __future__ import annotations

from pathlib import Path

import click

from porter.cli.completion import pages as known_pages
from porter.cli.talk import Command, answer, as_json, refuse
from porter.diagnostics import Diagnostic, Refused, nearest

PAGES = Path(__file__).resolve().parents[1] / "pages"


@click.command(cls=Command)
@click.argument("topic", required=False, shell_complete=known_pages)
@as_json
def explain(topic: str | None, as_json: bool) -> int:
    """Print the page on TOPIC, as Markdown; without TOPIC, list the pages.

    \b
    Examples:
      porter explain
      porter explain own-rules
    """
    pages = {path.stem: path for path in sorted(PAGES.glob("*.md"))}
    if topic is None:
        titles = {name: _title(path) for name, path in pages.items()}
        lines = [f"{name:<12} {title}" for name, title in titles.items()]
        return answer(True, lambda: "\n".join(lines), lambda: {"pages": titles}, as_json=as_json)
    if topic not in pages:
        close = " or ".join(f"`{other}`" for other in nearest(topic, pages))
        help = f"did you mean {close}?" if close else f"there are {', '.join(pages)}"
        return refuse(Refused((Diagnostic("P037", f"no page `{topic}`", help=help),)), as_json=as_json)
    text = pages[topic].read_text(encoding="utf-8").rstrip("\n")
    return answer(True, lambda: text, lambda: {"page": topic, "text": text}, as_json=as_json)


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")

"""`porter explain`: the pages that travel with porter, laid out on a terminal, as they are in a pipe."""

from __future__ import annotations

from pathlib import Path

import click

from porter.cli.completion import pages as known_pages
from porter.cli.talk import Command, answer, as_json, put, refuse, result_stream, to_stdout
from porter.diagnostics import nearest, refused

PAGES = Path(__file__).resolve().parents[1] / "pages"
_WIDEST = 100  # a line of prose that is longer is hard to read


@click.command(cls=Command)
@click.argument("topic", required=False, shell_complete=known_pages)
@as_json
def explain(topic: str | None, as_json: bool) -> int:
    """Print the page on TOPIC; without TOPIC, list the pages. In a pipe a page is its Markdown.

    \b
    Examples:
      porter explain
      porter explain rules
      porter explain zh
    """
    pages = {path.stem: path for path in sorted(PAGES.glob("*.md"))}
    if topic is None:
        titles = {name: _title(path) for name, path in pages.items()}
        return answer(True, lambda: _listed(titles), lambda: {"pages": titles}, as_json=as_json)
    if topic not in pages:
        close = " or ".join(f"`{other}`" for other in nearest(topic, pages))
        help = f"did you mean {close}?" if close else f"there are {', '.join(pages)}"
        return refuse(refused("P037", f"no page `{topic}`", help), as_json=as_json)
    text = pages[topic].read_text(encoding="utf-8").rstrip("\n")
    if as_json or not result_stream().isatty():
        return answer(True, lambda: text, lambda: {"page": topic, "text": text}, as_json=as_json)
    _lay_out(text)
    return 0


def _listed(titles: dict[str, str]) -> str:
    width = max(map(len, titles))
    return "\n".join(f"{name:<{width}}  {title}" for name, title in titles.items())


def _lay_out(text: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.theme import Theme

    on_any_ground = Theme({"markdown.code": "bold cyan"})  # rich's own would bring a black one along
    console = Console(file=result_stream(), highlight=False, theme=on_any_ground)
    console.width = min(console.width, _WIDEST)
    with console.capture() as capture:
        console.print(Markdown(text, code_theme="ansi_dark", hyperlinks=False))
    with to_stdout():
        put(capture.get().rstrip("\n"))


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")

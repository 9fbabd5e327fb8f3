"""The README and the pages as a reader of them sees it: fenced blocks, with the mark of those that no test runs.

A fence says what is in it: `bash` is commands, one a line; `python` is run, `python file=PATH` is written; `toml` is
read; `output` is what the block above it prints, `...` for lines left out; `text` is a drawing. A block that needs what
is not here has a line of its own above it: the mark, and what it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "porter" / "pages").glob("*.md"))
SHOWN = [ROOT / "README.md", *PAGES]  # all that a reader may read
MARKS = ("Not run by a test: ", "未由测试运行：")
HEADS = ("bash", "python", "toml", "output", "text")


@dataclass(frozen=True)
class Block:
    """A fenced block. `line` is the fence's; `needs` is why no test runs it."""

    page: str
    line: int
    head: str
    text: str
    needs: str | None = None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        """Where it is to be written, if anywhere."""
        return self.head.partition("file=")[2]

    @property
    def commands(self) -> list[str]:
        return [line for line in self.text.split("\n") if line.strip()] if self.head == "bash" else []


def blocks(path: Path) -> Iterator[Block]:
    head: str | None = None
    begun, held, above = 0, [""], ""
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.startswith("```"):
            if head is not None:
                held.append(line)
            elif line.strip():
                above = line
        elif head is None:
            head, begun, held = line.removeprefix("```"), number, []
        else:
            needs = next((above.removeprefix(mark).rstrip(".。") for mark in MARKS if above.startswith(mark)), None)
            yield Block(path.stem, begun, head, "\n".join(held) + "\n", needs)
            head, above = None, ""


def prose(path: Path) -> str:
    """The text on one line, as a sentence is looked for."""
    return " ".join(path.read_text(encoding="utf-8").split())


def code_spans(path: Path) -> list[str]:
    """What stands between backticks outside of fences."""
    fenced, kept = False, []
    for line in path.read_text(encoding="utf-8").split("\n"):
        fenced ^= line.startswith("```")
        kept.append("" if fenced or line.startswith("```") else line)
    return [" ".join(span.split()) for span in "\n".join(kept).split("`")[1::2]]

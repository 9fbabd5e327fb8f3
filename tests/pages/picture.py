"""The picture of the README: hunks of Llama's real `port.diff` as an SVG, light or dark as the reader's scheme is.

    python tests/pages/picture.py        # draws porter/pages/diff.svg again
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIFF = ROOT / "generated_models" / "llama2" / "port.diff"
PICTURE = ROOT / "porter" / "pages" / "diff.svg"
CHANGES = (  # rule and site
    "norm_rms_residual LlamaRMSNorm.forward",
    "rotary_half apply_rotary_pos_emb",
    "swiglu LlamaMLP.forward",
    "attention LlamaAttention.forward",
)

FONT, ADVANCE, HEIGHT, EDGE = 12, 7.225, 18, 12  # pixels: type, a letter's width, a line's height, the margin
KINDS = {"@": "head", "+": "plus", "-": "minus", " ": "same"}
STYLE = """
    rect.page { fill: #ffffff; stroke: #d0d7de } rect.head { fill: #ddf4ff }
    rect.plus { fill: #dafbe1 } rect.minus { fill: #ffebe9 }
    text { white-space: pre; fill: #1f2328;
      font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace }
    text.head { fill: #0550ae; font-weight: bold } text.plus { fill: #116329 } text.minus { fill: #82071e }
    @media (prefers-color-scheme: dark) {
      rect.page { fill: #0d1117; stroke: #30363d } rect.head { fill: #121d2f }
      rect.plus { fill: #12261e } rect.minus { fill: #301b1e }
      text { fill: #e6edf3 } text.head { fill: #79c0ff } text.plus { fill: #7ee787 } text.minus { fill: #ffb3ab }
    }
"""


def hunks(diff: str) -> Iterator[tuple[str, list[str]]]:
    """Each hunk: what its heading says behind the line numbers, and its lines."""
    heading, lines = "", []
    for line in diff.rstrip("\n").split("\n")[2:]:
        if line.startswith("@@"):
            if heading:
                yield heading, lines
            heading, lines = line.split(" @@ ", 1)[1], []
        else:
            lines.append(line)
    yield heading, lines


def shown(diff: str) -> list[str]:
    """The lines of the picture: of each change its longest hunk, under the heading that the diff has."""
    chosen = []
    for change in CHANGES:
        its_own = [hunk for hunk in hunks(diff) if change in hunk[0].split("; ")]
        heading, lines = max(its_own, key=lambda hunk: len(hunk[1]))
        chosen += [f"@ {heading}", *(line or " " for line in without_margin(lines))]
    return chosen


def without_margin(lines: list[str]) -> list[str]:
    """With one line at most around what changes, and none that is blank at either end."""
    changed = [number for number, line in enumerate(lines) if line and line[0] in "+-"]
    kept = lines[max(0, changed[0] - 1) : changed[-1] + 2]
    while not kept[0].strip():
        kept = kept[1:]
    while not kept[-1].strip():
        kept = kept[:-1]
    return kept


def draw(diff: str) -> str:
    lines = shown(diff)
    width = round(max(map(len, lines)) * ADVANCE) + 2 * EDGE
    height = len(lines) * HEIGHT + 2 * EDGE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-label="Parts of the diff of Llama: what was, and what porter writes">',
        f"  <style>{STYLE}  </style>",
        f'  <rect class="page" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6"/>',
    ]
    for number, line in enumerate(lines):
        kind, top = KINDS[line[0]], EDGE + number * HEIGHT
        text = line.removeprefix("@ ") if kind == "head" else line
        if kind != "same":
            parts.append(f'  <rect class="{kind}" x="1" y="{top}" width="{width - 2}" height="{HEIGHT}"/>')
        if text.strip():
            parts.append(f'  <text class="{kind}" x="{EDGE}" y="{top + FONT + 1}">{escape(text)}</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw(DIFF.read_text(encoding="utf-8")), encoding="utf-8")

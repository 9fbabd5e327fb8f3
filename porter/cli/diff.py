"""The diff of a port that is not written: as `git apply` takes it, in colour on a terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from porter.cli.documents import result_document
from porter.cli.screen import in_colour, is_terminal
from porter.cli.talk import DONE, print_json, put_piece, result_stream

if TYPE_CHECKING:
    from porter.rewrite import Ported


def show_diff(ported: Ported, out: Path, *, as_json: bool) -> int:
    """Print what `port.diff` would be of a port in the folder `out`."""
    from porter.emit import render_port

    patch = render_port(ported, Path(os.path.realpath(out))).files["port.diff"]
    text = os.fsdecode(patch) if ported.source.encoding == "utf-8" else patch.decode(ported.source.encoding, "replace")
    if as_json:
        print_json(result_document(True, {"name": ported.name, "diff": text}))
    else:
        put_piece(_coloured(text) if is_terminal(result_stream()) and in_colour() else text)
    return DONE


def _coloured(text: str) -> str:
    from pygments import highlight
    from pygments.formatters import TerminalFormatter
    from pygments.lexers import DiffLexer

    return highlight(text, DiffLexer(stripnl=False, ensurenl=False), TerminalFormatter())

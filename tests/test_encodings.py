"""From the bytes of a file to the bytes of its port: encodings, line ends, form feeds, what stands at the end."""

from __future__ import annotations

import codecs
import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from porter.convert import convert
from porter.diagnostics import Diagnostic, Refused
from porter.emit import Written, emit
from porter.emit.write import check
from porter.rewrite import Ported
from porter.source import load_source
from tests.engine.sources import accepted, write_rule
from tests.engine.test_plan import FIRST, MODEL

CHANGED = {
    "from transformers import PreTrainedModel",
    "        x = first(x)",
    "class TinyForCausalLM(PreTrainedModel):",
}
END = MODEL.count("\n") + 1  # the line of what is put behind the model
Read = Callable[..., Ported | Refused]


@pytest.fixture
def read(tmp_path) -> Read:
    """The outcome for a model of these bytes, by one rule; `beside` are files beside it."""
    name, declaration, functions = FIRST
    write_rule(tmp_path / "rules", functions, name, declaration)

    def run(data: bytes | str, folder: str = "tiny", **beside: bytes) -> Ported | Refused:
        place = tmp_path / folder
        place.mkdir()
        (place / "modeling_tiny.py").write_bytes(data.encode() if isinstance(data, str) else data)
        for file, content in beside.items():
            (place / f"{file}.py").write_bytes(content)
        source = load_source(str(place / "modeling_tiny.py"))
        if isinstance(source, Refused):
            return source
        return convert(source, name="tiny", rules_directory=tmp_path / "rules")

    return run


def written(ported: Ported, folder: Path) -> bytes:
    """The port's own file. Python reads it from its bytes, and git makes it of the source with the diff."""
    out = folder / "generated_models" / "tiny"
    assert isinstance(emit(ported, out), Written)
    port = (out / "modeling_tiny.py").read_bytes()
    compile(importlib.util.decode_source(port), "port", "exec")
    compile(port, "port", "exec")
    file = folder / "git" / ported.source.display
    file.parent.mkdir(parents=True)
    file.write_bytes(ported.source.path.read_bytes())
    patch = (out / "port.diff").read_bytes()
    subprocess.run(["git", "apply", "-"], input=patch, cwd=folder / "git", check=True, capture_output=True)
    assert file.read_bytes() == port
    return port


def lost_lines(data: bytes, port: bytes, encoding: str = "utf-8") -> set[str]:
    return {line.decode(encoding) for line in set(data.split(b"\n")) - set(port.split(b"\n"))}


def place(outcome: Ported | Refused) -> tuple[str, int | None]:
    diagnostic = the_one(outcome)
    return diagnostic.code, diagnostic.span.line if diagnostic.span else None


def the_one(outcome: Ported | Refused) -> Diagnostic:
    assert isinstance(outcome, Refused)
    (diagnostic,) = outcome.diagnostics
    assert diagnostic.help
    return diagnostic


# -- encodings


def declared(encoding: str, words: str = "é", form: str = "# -*- coding: {} -*-\n") -> bytes:
    said = f'# {words}\nWORDS = "{words}"  # {words}\n'
    return (form.format(encoding) + said + MODEL + said).encode(encoding)


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        *((name, "é ü ß") for name in ("latin-1", "iso-8859-15", "cp1252", "utf-8", "UTF-8", "utf8", "mac-roman")),
        *((name, "ж") for name in ("cp1251", "koi8-r")),
        *((name, "中") for name in ("gbk", "gb18030", "big5", "shift_jis", "euc-jp")),
    ],
)
def test_a_port_is_written_in_the_encoding_that_its_source_declares(read, tmp_path, encoding, words):
    data = declared(encoding, words)
    port = written(accepted(read(data)), tmp_path)
    assert lost_lines(data, port, encoding) == CHANGED


FORMS = {
    "for vim": "# vim: set fileencoding={} :\n",
    "without stars": "# coding={}\n",
    "in line 2, behind a shebang": "#!/usr/bin/env python\n# -*- coding: {} -*-\n",
    "in line 2, behind a comment": "# Copyright 2026\n# coding: {}\n",
    "behind an empty line": "\n# -*- coding: {} -*-\n",
    "behind a line of blanks": "   \n# -*- coding: {} -*-\n",
    "indented": "  # -*- coding: {} -*-\n",
    "behind a form feed": "\x0c# -*- coding: {} -*-\n",
    "and no comment behind it": "# -*- coding: {} -*-\n\n",
    "and a docstring behind it": '# -*- coding: {} -*-\n"""é"""\n',
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_cookie_is_found_where_python_finds_it_and_stays_one(read, tmp_path, form):
    data = declared("latin-1", form=form)
    assert lost_lines(data, written(accepted(read(data)), tmp_path), "latin-1") == CHANGED


NOT_ONE = {
    "a name that Python does not know": "nonsense",
    "bytes as digits": "hex",
    "a cipher": "rot13",
    "no encoding at all": "undefined",
    "names of hosts": "punycode",
    "other names of hosts": "idna",
    "two bytes a character": "utf-16",
    "UTF-8 with a mark": "utf-8-sig",
    "no superset of ASCII": "utf-7",
    "escapes as in a literal": "unicode_escape",
}


@pytest.mark.parametrize("encoding", NOT_ONE.values(), ids=NOT_ONE)
def test_a_cookie_that_no_port_can_be_written_in_is_refused_or_works(read, tmp_path, encoding):
    outcome = read(f"# -*- coding: {encoding} -*-\n{MODEL}")
    if isinstance(outcome, Ported):
        written(outcome, tmp_path)
    else:
        assert place(outcome)[0] in ("P005", "P011") and the_one(outcome).span is not None


LATIN = "é".encode("latin-1")
UNREADABLE = {
    "latin-1 without a cookie": (f"{MODEL}# ".encode() + LATIN + b"\n", END),
    "latin-1 declared as UTF-8": (b"# coding: utf-8\n# " + LATIN + b"\n" + MODEL.encode(), 2),
    "UTF-8 declared as ASCII": ("# coding: ascii\n# é\n".encode() + MODEL.encode(), 2),
    "a byte that cp1252 does not have": (b"# coding: cp1252\n" + MODEL.encode() + b"# \x81\n", END + 1),
    "a cookie in line 3": (b"# 1\n# 2\n# coding: latin-1\n# " + LATIN + b"\n" + MODEL.encode(), 4),
    "a cookie behind code": (b"import sys\n# coding: latin-1\n# " + LATIN + b"\n" + MODEL.encode(), 3),
    "UTF-16": (MODEL.encode("utf-16"), 1),
    "half a surrogate": (MODEL.encode() + b"# \xed\xa0\x80\n", END),
    "a byte order mark": (codecs.BOM_UTF8 + MODEL.encode(), 1),
}


@pytest.mark.parametrize(("data", "line"), UNREADABLE.values(), ids=UNREADABLE)
def test_bytes_that_are_not_text_are_refused_at_their_line(read, data, line):
    assert place(read(data)) == ("P005", line)


@pytest.mark.parametrize("data", [codecs.BOM_UTF8 + b"x = 1\n", b"x = 1\n# " + LATIN + b"\n", b"# coding: hex\n"])
@pytest.mark.parametrize("name", ["configuration_tiny", "parts"])
def test_a_file_beside_the_source_that_is_not_text_is_the_one_that_is_named(read, name, data):
    diagnostic = the_one(
        read("from . import parts\n" + MODEL, **{name: data, **({"parts": b""} if "_" in name else {})})
    )
    assert diagnostic.code == "P005" and diagnostic.span.path == f"tiny/{name}.py"


def test_a_file_beside_the_source_keeps_its_own_bytes(read, tmp_path):
    parts = b"# coding: latin-1\r\nWORD = '" + LATIN + b"'\r\n\x0c\r\n"
    written(accepted(read("from . import parts\n" + MODEL, parts=parts)), tmp_path)
    assert (tmp_path / "generated_models" / "tiny" / "parts.py").read_bytes() == parts


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "ascii", "shift_jis"])
def test_a_folder_may_have_a_name_that_the_encoding_has_not(read, tmp_path, encoding):
    outcome = read(declared(encoding, "e"), folder="модель-é")
    if isinstance(outcome, Ported):
        assert b"e" in written(outcome, tmp_path)
    else:
        assert the_one(outcome).code.startswith("P")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_port_that_differs_is_told_by_its_line(read, tmp_path, encoding):
    ported = accepted(read(declared(encoding)))
    port = written(ported, tmp_path)
    out = tmp_path / "generated_models" / "tiny"
    assert check(ported, out) == []
    (out / "modeling_tiny.py").write_bytes(port.replace(b"fast(x)", b"slow(x)"))
    (difference,) = check(ported, out)
    assert (difference.problem, difference.there) == ("differs", "        x = slow(x)")


# -- what stands in the text


def changed(old: str, new: str) -> str:
    assert old in MODEL
    return MODEL.replace(old, new, 1)


SEPARATORS = {
    "U+2028": "\u2028",
    "U+2029": "\u2029",
    "U+0085": "\x85",
    **{f"0x{n:x}": chr(n) for n in (11, 28, 29, 30)},
}
ROW = "        return softmax"
ODD = {
    **{f"{name} in a string": changed(ROW, f'        y = "a{c}b"\n{ROW}') for name, c in SEPARATORS.items()},
    **{f"{name} in a comment": changed(ROW, f"        # a{c}b\n{ROW}") for name, c in SEPARATORS.items()},
    **{f"{name} in a docstring": f'"""a{c}b\n{c}"""\n{MODEL}' for name, c in SEPARATORS.items()},
    "a form feed on a line of its own": changed("class Layer", "\x0c\nclass Layer"),
    "a form feed on a line of a class": changed("    def forward", "\x0c\n    def forward"),
    "a form feed before the first comment": f"\x0c# a\n{MODEL}",
    "a form feed in a string": changed(ROW, f'        y = "\x0c"\n{ROW}'),
    "a form feed between two words": changed(ROW, "        return\x0csoftmax"),
    "a form feed at the end of a line": changed("self.k = nn.Linear(1, 1)", "self.k = nn.Linear(1, 1)\x0c"),
    "no newline at the end": MODEL.rstrip("\n"),
    "many newlines at the end": f"{MODEL}\n\n\n",
    "blanks at the end": f"{MODEL}    ",
    "a comment at the end": f"{MODEL}# end",
    "an indented comment at the end": f"{MODEL}        # end\n    # end",
    "a backslash at the end of a line": changed(ROW, "        return \\\n  softmax"),
    "a backslash in an import": changed("from torch import nn", "from torch \\\n  import nn"),
    "blanks at the end of every line": MODEL.replace("\n", "  \n"),
    "blanks in every empty line": MODEL.replace("\n\n", "\n       \n"),
    "a tab behind a statement": changed("import torch\n", "import torch\t# a\n"),
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_an_odd_text_is_ported_and_stays_as_it_is(read, tmp_path, text):
    port = written(accepted(read(text)), tmp_path)
    lost = lost_lines(text.encode(), port)
    assert {line.strip() for line in lost} <= {line.strip() for line in CHANGED} and len(lost) >= 3


FEEDS = {
    "a form feed before the first import": ("import torch\n", "\x0cimport torch\n"),
    "a form feed before a class": ("class Layer", "\x0cclass Layer"),
    "a form feed before a decorator": ("class Layer", "\x0c@d\nclass Layer"),
    "a form feed before the first method": ("    def forward", "\x0c    def forward"),
    "a form feed in the indentation": ("    def forward", "  \x0c    def forward"),
    "a form feed before a later method": (
        "\n    def forward(self, x):\n        x",
        "\n\x0c    def forward(self, x):\n        x",
    ),
    "a backslash before a class": ("class Layer", "\\\nclass Layer"),
    "a backslash in an indentation": (ROW, "        \\\n  return softmax"),
}


@pytest.mark.parametrize("pair", FEEDS.values(), ids=FEEDS)
def test_what_the_tree_cannot_hold_is_refused_near_its_line_or_ported(read, tmp_path, pair):
    text = changed(*pair)
    outcome = read(text)
    if isinstance(outcome, Ported):
        assert len(lost_lines(text.encode(), written(outcome, tmp_path))) == len(CHANGED)
    else:
        code, line = place(outcome)
        assert code == "P015" and 0 <= line - MODEL[: MODEL.index(pair[0])].count("\n") - 1 <= 3


REFUSED = {
    "a carriage return at the end": (f"{MODEL}x = 1\r", ("P013", END)),
    "a carriage return in a string": (changed(ROW, f'        """\ra"""\n{ROW}'), ("P013", 22)),
    "a carriage return in a comment": (changed(ROW, f"        # \ra\n{ROW}"), ("P013", 22)),
    "carriage returns alone": (MODEL.replace("\n", "\r"), ("P013", 1)),
    "two carriage returns": (MODEL.replace("\n", "\r\r\n"), ("P013", 1)),
    "a null byte": (changed(ROW, f"        \0\n{ROW}"), ("P011", 22)),
    "a null byte in a string": (changed(ROW, f'        "\0"\n{ROW}'), ("P011", 22)),
    "a null byte at the end": (f"{MODEL}\0", ("P011", END)),
    "a control character": (f"{MODEL}\x1a", ("P011", END)),
    "a separator between two words": (changed(ROW, "        return\u2028softmax"), ("P011", 22)),
    "a backslash at the very end": (f"{MODEL}x = 1\\", ("P011", END)),
    "a tab for an indentation": (MODEL.replace("    ", "\t"), ("P012", 9)),
    "an empty file": ("", ("P006", None)),
    "a file of blank lines": ("\n\n\r\n  \n\x0c\n", ("P006", None)),
}


@pytest.mark.parametrize(("text", "where"), REFUSED.values(), ids=REFUSED)
def test_a_text_that_is_refused_is_refused_at_its_line(read, text, where):
    assert place(read(text)) == where


@pytest.mark.parametrize("count", [-1, 12], ids=["in every line", "in the first lines"])
def test_lines_that_end_in_two_characters_are_lines(read, tmp_path, count):
    port = written(accepted(read(MODEL.replace("\n", "\r\n", count))), tmp_path)
    assert lost_lines(MODEL.encode(), port.replace(b"\r", b"")) == CHANGED

"""Every example of the README and of the pages is run here, in the order of its page, or says above it why none can be.

Commands run in this process and must leave with 0; Python blocks of one page share their names; what `output` shows is
what the command above it prints.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

import porter.cli
from tests.pages.blocks import HEADS, PAGES, SHOWN, Block, blocks, code_spans
from tests.pages.conftest import DEMO

# page: the reasons of its blocks that no test runs, as a reader sees them
NOT_RUN = {
    "README": ["it sets up an environment", "it sets up an environment, and runs this test"],
    "accept": ["needs an NPU", "takes minutes"],
    "predict": ["lowers a model at its real sizes"],
    "speed": ["needs a GPU with 40 GB"],
    "tensor-parallel": ["needs eight NPUs and a checkpoint of Llama-2-70B"],
    "zh": ["会创建新的环境"],
}
OWN_TEST = {"own-rules"}  # followed by tests/own/test_tutorial.py
LOWERED = {"porter lower generated_models/llama2"}  # tests/lowering/test_lower.py lowers it, once in a suite
TRANSLATED = {"zh"}  # its examples are other pages'


def ids(path: Path) -> str:
    return path.stem


def read_page(path: Path) -> list[Block]:
    return [block for block in blocks(path) if block.needs is None]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], demo: Callable[[], Path]) -> Callable[[str], str]:
    """Runs one line as a shell would; its stdout."""

    def run(line: str) -> str:
        if line == DEMO:
            shutil.copytree(demo(), "demo")
            return ""
        program, *words = shlex.split(line, comments=True)
        assert program == "porter", line
        if line in LOWERED:
            assert porter.cli.commands.commands["lower"].make_context("lower", words[1:])  # NAME and options hold
            return ""
        code = porter.cli.exit_code(words)
        out, err = capfd.readouterr()
        assert code == 0, f"{line}\n{out}\n{err}"
        return out

    return run


@pytest.mark.parametrize("path", [path for path in SHOWN if path.stem not in OWN_TEST | TRANSLATED], ids=ids)
def test_each_example_of_a_page_does_what_it_says(path, folder, command):
    names: dict[str, object] = {"__name__": path.stem}
    out = ""
    for block in read_page(path):
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text)
        elif block.head == "python":
            exec(compile(block.text, block.place, "exec"), names)
        elif block.head == "output":
            assert missing(block.text, out) == [], f"{block.place}: not in what the command above it prints:\n{out}"
        for line in block.commands:
            out = command(line)


def test_each_example_of_a_translation_is_one_that_was_run():
    run = {(block.head, block.text) for path in SHOWN if path.stem not in TRANSLATED for block in read_page(path)}
    shown = [block for path in SHOWN if path.stem in TRANSLATED for block in read_page(path)]
    assert len(shown) > 2 and [block.place for block in shown if (block.head, block.text) not in run] == []


def missing(shown: str, printed: str) -> list[str]:
    """Lines that are shown and not printed, in this order; blanks do not count."""
    rest = iter([" ".join(line.split()) for line in printed.split("\n")])
    lines = [" ".join(line.split()) for line in shown.strip().split("\n")]
    return [line for line in lines if line != "..." and line not in rest]


@pytest.mark.parametrize("path", SHOWN, ids=ids)
def test_what_is_not_run_says_so_and_is_listed_here(path):
    reasons = [block.needs for block in blocks(path) if block.needs is not None]
    listed = NOT_RUN.get(path.stem, [])
    assert reasons == listed
    assert {block.head.split(" ")[0] for block in blocks(path)} <= set(HEADS)


def test_a_line_that_is_not_printed_is_found():
    assert missing("a\n...\nc  d\n", "a\nb\nc d\n") == []
    assert missing("a\nx\n", "a\nb\n") == ["x"] and missing("b\na\n", "a\nb\n") == ["a"]


def spans() -> Iterator[tuple[str, list[str]]]:
    for path in SHOWN:
        for span in code_spans(path):
            words = span.split()
            if len(words) > 1 and words[0] == "porter" and words[1].islower():
                yield path.stem, words[1:]


def test_each_command_in_a_sentence_has_its_name_and_its_options():
    known = porter.cli.commands.commands
    found = list(spans())
    assert len(found) > 40
    for page, (name, *words) in found:
        assert name in known, f"{page}: porter {name}"
        if name == "explain" and words:
            assert words[0] in {"TOPIC", *(path.stem for path in PAGES)}, f"{page}: porter explain {words[0]}"
        options = {option for parameter in known[name].params for option in parameter.opts if option[0] == "-"}
        for word in words:
            if word.startswith("-"):
                assert word.strip("[],").partition("=")[0] in {*options, "-h"}, f"{page}: porter {name} {word}"


def test_the_page_of_commands_has_each_of_them():
    (page,) = [path for path in SHOWN if path.stem == "commands"]
    rows = [line for line in page.read_text().split("\n") if line.startswith("| `porter ")]
    assert sorted(row.split("`")[1].split()[1] for row in rows) == sorted(porter.cli.commands.commands)
    assert all(isinstance(each, click.Command) for each in porter.cli.commands.commands.values())

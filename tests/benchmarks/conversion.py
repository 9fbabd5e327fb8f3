"""What a conversion costs, against LibCST's bare parse-and-print of the same file.

    python benchmarks/conversion.py [SOURCE] [--runs N]

Each figure is a median over N runs, with the fastest and the slowest. The two that make the ratio run in turn. Only the
`porter` command, run as a process of its own, writes anything: into a folder that is removed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libcst
from porter.parse import Parsed, parse

from porter.anatomy import read_anatomy
from porter.convert import convert
from porter.emit.render import render_port
from porter.rewrite import Ported
from porter.rulebook import load_rules
from porter.shipped import shipped
from porter.source import Source, load_source

LIMIT = 3.0  # times the bare parse-and-print
PLACE = Path("generated_models/bench")  # where the port would stand; nothing is written there


def timed(work: Callable[[], Any], runs: int) -> list[float]:
    """Seconds of each run, after one that warms up."""
    work()
    return [timed_once(work) for _ in range(runs)]


def alternately(first: Callable[[], Any], second: Callable[[], Any], runs: int) -> tuple[list[float], list[float]]:
    """Seconds of both, run in turn, so that a busy machine slows them alike."""
    first(), second()
    pairs = [(timed_once(first), timed_once(second)) for _ in range(runs)]
    return [one for one, _ in pairs], [other for _, other in pairs]


def timed_once(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def shown(name: str, seconds: list[float]) -> str:
    middle, low, high = (1e3 * f(seconds) for f in (statistics.median, min, max))
    return f"{name:<34}{middle:8.1f} ms   {low:7.1f} .. {high:7.1f}"


def whole(spec: str) -> Ported:
    """All that `porter convert` does but the writing: read, plan, rewrite, render every file."""
    source = load_source(spec)
    assert isinstance(source, Source), source
    ported = convert(source, name="bench")
    assert isinstance(ported, Ported), ported
    render_port(ported, PLACE)
    return ported


def process(spec: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "porter", "convert", spec, "--out", f"{folder}/bench", "--name", "bench"]
        subprocess.run(command, check=True, capture_output=True)


def stages(spec: str) -> dict[str, Callable[[], Any]]:
    """The parts of `whole`, each done alone on what the ones before it give."""
    source = load_source(spec)
    assert isinstance(source, Source), source
    parsed = parse(source.text, source.display)
    assert isinstance(parsed, Parsed), parsed
    ported = convert(source, name="bench")
    assert isinstance(ported, Ported), ported
    return {
        "load the source": lambda: load_source(spec),
        "parse": lambda: parse(source.text, source.display),
        "anatomy": lambda: read_anatomy(parsed),
        "load the rules": lambda: load_rules(shipped("rules")),
        "convert (all of these but the load)": lambda: convert(source, name="bench"),
        "render every file": lambda: render_port(ported, PLACE),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", nargs="?", default="transformers.models.llama")
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    source = load_source(arguments.source)
    assert isinstance(source, Source), source

    print(
        f"{source.display}, {len(source.text.splitlines())} lines, median of {arguments.runs} runs (fastest .. slowest)"
    )
    for name, work in stages(arguments.source).items():
        print(shown(f"  {name}", timed(work, arguments.runs)))
    bare, conversion = alternately(
        lambda: libcst.parse_module(source.text).code, lambda: whole(arguments.source), arguments.runs
    )
    ratios = [ours / theirs for ours, theirs in zip(conversion, bare, strict=True)]
    ratio = statistics.median(ratios)
    print(shown("LibCST parse and print", bare))
    print(shown("whole conversion, in process", conversion))
    print(shown("porter convert, as a process", timed(lambda: process(arguments.source), max(3, arguments.runs // 5))))
    print(f"ratio, run by run: {ratio:.2f} ({min(ratios):.2f} .. {max(ratios):.2f}), limit {LIMIT:g}")
    return 0 if ratio < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())

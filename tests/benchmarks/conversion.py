"""What a conversion costs, against LibCST's bare `parse_module(text).code` of the same text.

    python tests/benchmarks/conversion.py [SOURCE] [--runs N] [--growth N,N,...]

Contract: three tables, of the stages of one conversion, of whole conversions, and of generated files that grow. A
figure is a median of the runs with the fastest and the slowest. All is measured in turns (see `turns.py`); generated
files take turns of their own, a quarter as many. The bare side runs as its user has it, collector on; with the
collector paused, as porter pauses it, it is a row of its own. Imports and templates are warm in process, and cold in
the figures of a process. Peak memory is VmHWM: `ru_maxrss` of a child starts with what its parent has.

Exit 0 when every limit holds, else 1 and a line for each that does not. What is written, by the `porter` command and
into porter's cache, is written into folders that are removed; the rules that are kept there are kept by these runs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from unittest import mock

import libcst
from grown import as_source, with_classes, with_functions
from stages import PLACE, Stages, accepted
from turns import Figures, Pair, in_turns, seconds, shown

from porter.cli.convert import default_name
from porter.convert import Rules, convert
from porter.diagnostics import Refused
from porter.emit import render_port
from porter.matrix.library import causal_modules
from porter.report.table import table
from porter.rewrite import Ported
from porter.rulebook import load_rules
from porter.shipped import cache_folder, shipped
from porter.source import Source, load_source
from porter.tree.collector import paused_collector

ALL_READ, RULES_READ, LARGEST, PROCESS, MEGABYTES, GROWTH = 6.0, 4.0, 8.0, 3.0, 300.0, 1.5  # the limits
REFUSED = "transformers.models.qwen3_omni_moe"  # larger than any that is converted, and refused once it is parsed
ROOT = Path(__file__).resolve().parents[2]

_BARE = "import sys, libcst; text = open(sys.argv[1], encoding='utf-8').read()"
_BARE += "; sys.stdout.write(libcst.parse_module(text).code)"
_PORTER = "import sys; from porter.cli import exit_code; exit_code(sys.argv[1:]) and sys.exit('not converted')"
_PEAK = "; print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"


# --- what is measured


def printed(text: str) -> str:
    return libcst.parse_module(text).code


def bare(text: str) -> Callable[[], float]:
    return partial(seconds, printed, text)


def bare_paused(text: str) -> float:
    with paused_collector():
        return seconds(printed, text)


def whole(spec: str, rules: Rules | None = None) -> Ported | Refused:
    """All that `porter convert` does but the writing: read, convert, render every file; `rules` were read before."""
    return finished(accepted(load_source(spec)), rules)


def first_whole(spec: str) -> float:
    """Seconds of the first conversion after a rule was changed, or porter: nothing is kept of the rules."""
    shutil.rmtree(cache_folder(), ignore_errors=True)
    return seconds(whole, spec)


def finished(source: Source, rules: Rules | None) -> Ported | Refused:
    ported = convert(source, name="bench", rules=rules)
    if isinstance(ported, Ported):
        render_port(ported, PLACE)
    return ported


def largest_converted(rules: Rules) -> str:
    """The module with the most lines of the library's causal language models that porter converts."""
    modules = {module: accepted(load_source(module)) for module in accepted(causal_modules())}
    ordered = sorted(modules, key=lambda module: -lines_of(modules[module].text))
    return next(m for m in ordered if isinstance(convert(modules[m], name="bench", rules=rules), Ported))


def lines_of(text: str) -> int:
    return len(text.splitlines())


def process(*arguments: str) -> str:
    """What Python, started anew with porter on its path, prints."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command, environment = [sys.executable, *arguments], {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def into_folder(spec: str, *start: str) -> str:
    """`porter convert`, started as given, into a folder that is removed."""
    with tempfile.TemporaryDirectory() as folder:
        return process(*start, "convert", spec, "--out", f"{folder}/bench")


def peak(run: Callable[..., str], *arguments: str) -> float:
    """Megabytes, from the last line that a process prints."""
    return int(run(*arguments).rstrip().rpartition("\n")[2]) * 1024 / 1e6


def wholes(spec: str, rules: Rules) -> list[Pair]:
    """The whole conversions, each with its limit."""
    largest = largest_converted(rules)
    sources: dict[str, Source] = {name: accepted(load_source(name)) for name in (spec, largest, REFUSED)}
    title = {name: f"{default_name(source)}, {lines_of(source.text):,} lines" for name, source in sources.items()}
    refused = whole(REFUSED, rules)
    answer = f"refused with {refused.diagnostics[0].code}" if isinstance(refused, Refused) else "converted"

    def in_process(said: str, name: str, known: Rules | None, limit: float) -> Pair:
        return Pair(f"{said}: {title[name]}", partial(seconds, whole, name, known), bare(sources[name].text), limit)

    first = Pair(f"every rule parsed and kept: {title[spec]}", partial(first_whole, spec), bare(sources[spec].text))

    def memory(name: str) -> Pair:
        ours, theirs = partial(peak, into_folder, name, "-c", _PORTER + _PEAK), partial(peak, process, "-c")
        file = str(sources[name].path)
        return Pair(f"peak memory: {title[name]}", ours, partial(theirs, _BARE + _PEAK, file), MEGABYTES, True)

    ours, theirs = partial(seconds, into_folder, spec, "-m", "porter"), partial(seconds, process, "-c", _BARE)
    return [
        first,
        in_process("all rules read", spec, None, ALL_READ),
        in_process("rules read before", spec, rules, RULES_READ),
        in_process("largest that is converted", largest, rules, LARGEST),
        in_process(answer, REFUSED, rules, LARGEST),
        Pair(f"a process: {title[spec]}", ours, partial(theirs, str(sources[spec].path)), PROCESS),
        memory(spec),
        memory(largest),
    ]


def growing(like: Source, rules: Rules, sizes: Sequence[int]) -> list[Pair]:
    """Generated files, by kind and size."""
    pairs = []
    for kind, make in {"functions": with_functions, "norm classes": with_classes}.items():
        for n in sizes:
            source = as_source(make(n), like)
            work = partial(seconds, lambda source: accepted(finished(source, rules)), source)
            pairs.append(Pair(kind, work, bare(source.text), size=n))
    return pairs


# --- what is printed


def print_stages(stages: Stages, theirs: Figures, paused: Figures) -> None:
    """Each stage in milliseconds and over the bare parse-and-print of its run."""
    runs = stages.runs[-len(theirs.bare) :]
    of = {name: [run[name] for run in runs] for name in runs[0]}
    rows: list[tuple[str, Figures]] = [("LibCST parses and prints", Figures(theirs.bare, theirs.bare))]
    rows += [("the same, collector paused", paused)]
    rows += [(name, Figures(taken, theirs.bare)) for name, taken in of.items()]
    rows += [("all stages", theirs)]
    header = ("stage", "ms", "fastest .. slowest", "/ bare", "least .. greatest")
    lines = [(name, *shown(each.work, 1e3), *shown(each.ratios, digits=3)) for name, each in rows]
    print(table(header, lines, right=frozenset(range(1, 5))))


def print_wholes(found: Sequence[tuple[Pair, Figures]]) -> list[str]:
    """Each whole conversion and its bare counterpart; what is over its limit."""
    rows, over = [], []
    for pair, figures in found:
        scale, unit = (1.0, "MB") if pair.megabytes else (1e3, "ms")
        limit = f"{pair.limit:g} {'MB' if pair.megabytes else 'x bare'}" if pair.limit is not None else ""
        figure = median(figures.work if pair.megabytes else figures.ratios)
        if pair.limit is not None and figure >= pair.limit:
            over.append(f"over the limit: {pair.name}: {figure:.2f}, limit {limit}")
        sides = (cell for side in figures for cell in shown(side, scale, 1))
        rows.append((pair.name, unit, *sides, *shown(figures.ratios), limit))
    header = ("whole", "", "porter", "fastest .. slowest", "bare", "fastest .. slowest", "ratio", "least .. greatest")
    print(table((*header, "limit"), rows, right=frozenset(range(2, 8))))
    return over


def print_growth(found: Sequence[tuple[Pair, Figures]]) -> list[str]:
    """Each generated file, then what one function more costs in the largest against the smallest; what is over."""
    rows = []
    for pair, figures in found:
        each = (f"{1e3 * median(side) / pair.size:.3f}" for side in figures)
        rows.append((pair.name, f"{pair.size:,}", *shown(figures.work, 1e3, 0), *each, *shown(figures.ratios)))
    header = ("beside the model", "n", "ms", "fastest .. slowest", "ms each", "bare, ms each", "/ bare")
    print(table((*header, "least .. greatest"), rows, right=frozenset(range(1, 8))), end="\n\n")
    rows, over = [], []
    for kind in dict.fromkeys(pair.name for pair, _ in found):
        (small, first), *_, (large, last) = [(pair, figures) for pair, figures in found if pair.name == kind]
        ours, theirs = (
            [(b / large.size) / (a / small.size) for a, b in zip(before, after, strict=True)]
            for before, after in zip(first, last, strict=True)
        )
        name = f"{kind}, time each: {large.size:,} / {small.size:,}"
        over_bare = [one / other for one, other in zip(ours, theirs, strict=True)]
        rows.append((name, *shown(ours), *shown(theirs), *shown(over_bare), f"{GROWTH:g}"))
        if median(ours) >= GROWTH:
            over.append(f"over the limit: {name}: {median(ours):.2f}, limit {GROWTH:g}")
    header = ("growth", "porter", "least .. greatest", "bare", "least .. greatest", "porter / bare")
    print(table((*header, "least .. greatest", "limit"), rows, right=frozenset(range(1, 7))))
    return over


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", nargs="?", default="transformers.models.llama")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--growth", default="250,500,1000,2000", help="sizes of the generated files, with commas")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache, mock.patch.dict(os.environ, {"XDG_CACHE_HOME": cache}):
        return measured(arguments)


def measured(arguments: argparse.Namespace) -> int:
    spec, runs, seldom = arguments.source, arguments.runs, max(1, arguments.runs // 4)
    rules, source, stages = accepted(load_rules(shipped("rules"))), accepted(load_source(spec)), Stages(spec)
    text, load = source.text, os.getloadavg()[0]
    both = [Pair("stages", stages, bare(text)), Pair("paused", partial(bare_paused, text), bare(text))]
    (_, whole_runs), (_, paused), *found = in_turns([*both, *wholes(spec, rules)], runs)
    sizes = [int(n) for n in arguments.growth.split(",")]
    grown = in_turns(growing(source, rules, sizes), seldom, warm=False)

    of = f"medians of {runs} runs, of generated files {seldom}"
    print(f"{source.display}, {lines_of(text):,} lines; {of}; load {load:.1f} .. {os.getloadavg()[0]:.1f}\n")
    print_stages(stages, whole_runs, paused)
    print()
    over = print_wholes(found)
    print()
    over += print_growth(grown)
    print("\n".join(["", *over]) if over else "\nall limits hold")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())

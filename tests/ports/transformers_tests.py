"""transformers' own model tests, run on ports: `python tests/ports/transformers_tests.py FOLDER [--record]`.

FOLDER holds the test files of a transformers checkout of the installed release, or is the checkout: in it
`test_modeling_common.py`, `causal_lm_tester.py`, `generation/test_utils.py` and `models/MODEL/test_modeling_MODEL.py`,
none of which is kept here; they import `parameterized`, which is to be installed or on PYTHONPATH. Each of the models
is ported into a temporary folder, and its tests (`ModelTesterMixin`, `GenerationTesterMixin` and the rest) run twice,
each time in a process of their own: on the source, and with the port's classes in place of the source's. What fails or
is skipped on the port alone must be explained by a limit in `transformers_limits.json`, which names the line of the
page `limits` on it. Exit code 1: something is unexplained, or an explanation explains nothing any more. `--record`
writes what came of it to `transformers_tests.json`.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.source import load_source

HERE = Path(__file__).resolve().parent
LIMITS, RECORD = HERE / "transformers_limits.json", HERE / "transformers_tests.json"
MODELS = ("llama", "mistral", "qwen2", "qwen3")
Outcomes = dict[str, list[str]]  # test -> outcome, error or reason


@dataclass
class Judged:
    """What became of one model's tests. `explained`: limit -> tests; the others are tests with their errors."""

    passed: int = 0
    skipped: int = 0
    explained: dict[str, list[str]] = field(default_factory=dict)
    unexplained: dict[str, str] = field(default_factory=dict)
    of_the_source: list[str] = field(default_factory=list)


def explaining(limits: list[dict[str, Any]], test: str, error: str) -> dict[str, Any] | None:
    """The limit that explains this failure: a pattern of it is the test's, and an error of it stands in the error."""
    for limit in limits:
        named = any(fnmatch.fnmatchcase(test, pattern) for pattern in limit["tests"])
        if named and any(text in error for text in limit["errors"]):
            return limit
    return None


def judge(source: Outcomes, port: Outcomes, limits: list[dict[str, Any]]) -> Judged:
    """A test counts where the source passes it; what the source fails says nothing of a port."""
    judged = Judged()
    for test, (outcome, error) in sorted(port.items()):
        if source.get(test, ["missing"])[0] == "failed":
            judged.of_the_source.append(test)
        elif outcome == "passed":
            judged.passed += 1
        elif outcome == "skipped" and source.get(test, ["missing"])[0] == "skipped":
            judged.skipped += 1
        elif (limit := explaining(limits, test, error)) is not None:
            judged.explained.setdefault(limit["limit"], []).append(test)
        else:
            judged.unexplained[test] = f"{outcome}: {error}"
    judged.unexplained |= dict.fromkeys(sorted(source.keys() - port.keys()), "not run on the port")
    return judged


def stale(limits: list[dict[str, Any]], judged: dict[str, Judged]) -> list[str]:
    """Explanations that explain nothing."""
    found = []
    for limit in limits:
        tests = [test for each in judged.values() for test in each.explained.get(limit["limit"], [])]
        unused = [pattern for pattern in limit["tests"] if not fnmatch.filter(tests, pattern)]
        found += [f"{limit['limit']}: {pattern}" for pattern in unused]
    return found


def lay_out(folder: Path, place: Path) -> Path:
    """A copy of what the tests need as a package in `place`: nothing is written beside the files themselves."""
    folder = folder if (folder / "test_modeling_common.py").exists() else folder / "tests"
    needed = ["test_modeling_common.py", "causal_lm_tester.py", "generation/test_utils.py"]
    needed += [f"models/{model}/test_modeling_{model}.py" for model in MODELS]
    if missing := [name for name in needed if not (folder / name).exists()]:
        raise SystemExit(f"{folder}: no {', '.join(missing)}. Give the tests of a transformers checkout")
    tests = place / "tests"
    tests.mkdir()
    for file in folder.glob("*.py"):
        shutil.copy(file, tests)
    for name in ("generation", "exporters", "utils", "fixtures", *(f"models/{model}" for model in MODELS)):
        if (folder / name).is_dir():
            shutil.copytree(folder / name, tests / name, ignore=shutil.ignore_patterns("__pycache__"))
    for package in (tests, tests / "generation", tests / "models", *(tests / "models" / model for model in MODELS)):
        (package / "__init__.py").touch()
    if (folder.parent / "utils" / "test_module").is_dir():
        shutil.copytree(folder.parent / "utils" / "test_module", place / "utils" / "test_module")
    return tests


def run(tests: Path, model: str, place: Path, port: Path | None) -> Outcomes:
    result = place / f"{model}-{'port' if port else 'source'}.json"
    command = [
        sys.executable,
        str(HERE / "in_place.py"),
        str(tests),
        model,
        str(result),
        *([str(port)] if port else []),
    ]
    path = os.pathsep.join([str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    outcomes = json.loads(result.read_text()) if result.exists() else {}
    if not outcomes:
        raise SystemExit(f"no test of {model} ran:\n{(done.stdout + done.stderr)[-3000:]}")
    return outcomes


def ported(model: str, place: Path) -> Path:
    source = load_source(f"transformers.models.{model}")
    assert not isinstance(source, Refused), source
    port = convert(source, name=model)
    assert not isinstance(port, Refused), port
    emitted = emit(port, place / model)
    assert not isinstance(emitted, Refused), emitted
    return place / model / f"modeling_{model}.py"


def table(judged: dict[str, Judged]) -> dict[str, Any]:
    return {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "models": {
            model: {
                "passed": each.passed,
                "failed or skipped by limit": sum(map(len, each.explained.values())),
                "skipped": each.skipped,
                "failed on the source too": each.of_the_source,
                "by limit": each.explained,
                "unexplained": each.unexplained,
            }
            for model, each in judged.items()
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="transformers' own model tests, run on ports")
    parser.add_argument("folder", type=Path, help="the tests of a transformers checkout")
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.name}")
    chosen = parser.parse_args()
    limits, judged = json.loads(LIMITS.read_text()), {}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        tests = lay_out(chosen.folder.resolve(), place)
        for model in MODELS:
            port = ported(model, place / "ports")
            found = judged[model] = judge(run(tests, model, place, None), run(tests, model, place, port), limits)
            counts = {limit: len(which) for limit, which in found.explained.items()}
            print(f"{model}: {found.passed} passed, {sum(counts.values())} failed or skipped by limit {counts}, "
                  f"{found.skipped} skipped as on the source", flush=True)  # fmt: skip
            for test, error in found.unexplained.items():
                print(f"  unexplained: {test}: {error}", flush=True)
    for explanation in (unused := stale(limits, judged)):
        print(f"explains nothing any more: {explanation}")
    if chosen.record:
        RECORD.write_text(json.dumps(table(judged), indent=1) + "\n")
    return int(bool(unused or any(each.unexplained for each in judged.values())))


if __name__ == "__main__":
    sys.exit(main())

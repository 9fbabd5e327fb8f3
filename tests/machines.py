"""The suite as other CPUs would run it: `python tests/machines.py [--whole] [--workers N] [--record]`.

A machine differs in the vector width that torch, oneDNN and MKL compute with, and in its threads: each is set by an
environment variable, read when a process starts, so each setting is a pytest process of its own. The files that
compare figures run under every setting, the others once; with `--whole` all run under all. What fails is run again in
the same setting, without other workers beside it: `failed` and `failed_alone`. Exit code 1: a test failed alone, or
pytest gave no answer.

`--record` writes what came of it to `machines.json`, setting by setting, so that a run can be cut off; `--resume` goes
on with the settings that were not recorded with this very text of porter, rules and tests. The test of the record
itself is left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RECORD = HERE / "machines.json"
JUDGE = "tests/test_machines.py"
REST = "the rest"
FIGURES = {
    "npu": ("activation", "attention", "decompositions", "direct", "graph", "no_gradient", "norm", "rotary"),
    "runtime": ("compiled_steps", "generate", "products", "rotary_tables", "weights"),
    "verify": ("brief", "parity", "prove"),
    "runner": ("answers", "dynamo"),
    "parallel": ("reduce_op",),
}


def figures() -> list[str]:
    return [f"tests/{folder}/test_{name}.py" for folder, names in FIGURES.items() for name in names]


def threads(count: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(count), "MKL_NUM_THREADS": str(count)}


SETTINGS = {  # the first is the machine as it is
    "as it is, 1 thread": threads(1),
    "as it is, 2 threads": threads(2),
    "torch without vectors, 1 thread": {"ATEN_CPU_CAPABILITY": "default", **threads(1)},
    "torch without vectors, 2 threads": {"ATEN_CPU_CAPABILITY": "default", **threads(2)},
    "torch on AVX2, 1 thread": {"ATEN_CPU_CAPABILITY": "avx2", **threads(1)},
    "torch on AVX2, 2 threads": {"ATEN_CPU_CAPABILITY": "avx2", **threads(2)},
    "torch, oneDNN and MKL on AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", **threads(1),
    },
    "torch without vectors, oneDNN on SSE4.1, MKL on SSE4.2": {
        "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        **threads(1),
    },
}  # fmt: skip


def rest() -> list[str]:
    """Every other test file."""
    files = [str(file.relative_to(ROOT)) for file in sorted(HERE.rglob("test_*.py"))]
    return [file for file in files if file not in (*figures(), JUDGE)]


def run(environment: dict[str, str], tests: list[str], workers: int = 0) -> dict[str, Any]:
    """Counts of one pytest process over `workers`, what failed, and what failed again without others beside it."""
    with tempfile.TemporaryDirectory() as folder:
        found = _pytest(environment, Path(folder), [*tests, "-n", str(workers)])
        failed = found["failed"]
        if failed and "no_answer" not in found:
            last = ["--last-failed", "--last-failed-no-failures", "none"]
            again = _pytest(environment, Path(folder), [*tests, "-n", "0", *last])
            found["failed_alone"] = again["failed"]
            found |= {"no_answer": again["no_answer"]} if "no_answer" in again else {}
    return {"failed_alone": [], **found}


def _pytest(environment: dict[str, str], folder: Path, words: list[str]) -> dict[str, Any]:
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-o", f"cache_dir={folder / 'cache'}", f"--junitxml={report}"]
    done = subprocess.run(
        [*command, f"--ignore={JUDGE}", *words], cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    if not report.exists():
        last = (done.stdout + done.stderr).strip().splitlines()[-20:]
        return {"passed": 0, "skipped": 0, "failed": [], "no_answer": [f"pytest ended with {done.returncode}", *last]}
    cases = list(ElementTree.parse(report).iter("testcase"))
    kinds = [{child.tag for child in case} for case in cases]
    failed = [f"{case.get('classname')}::{case.get('name')}" for case, kind in zip(cases, kinds, strict=True)
              if kind & {"failure", "error"}]  # fmt: skip
    skipped = sum("skipped" in kind for kind in kinds)
    return {"passed": len(cases) - len(failed) - skipped, "skipped": skipped, "failed": sorted(set(failed))}


def machine() -> dict[str, str]:
    """What a setting was run on."""
    vectors = torch.backends.cpu.get_cpu_capability()
    return {"torch": torch.__version__, "python": platform.python_version(), "vectors": vectors, "text": _text()}


def _text() -> str:
    """Stands for all that a test's outcome can hang on, but the record."""
    folders = [ROOT / name for name in ("porter", "rules", "templates", "generated_models", "tests")]
    files = sorted(file for folder in folders for file in folder.rglob("*") if file.is_file() and file != RECORD)
    digest = hashlib.sha256()
    for file in (file for file in files if "__pycache__" not in file.parts):
        digest.update(f"{file.relative_to(ROOT)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def chosen_settings(chosen: argparse.Namespace, recorded: dict[str, Any], here: dict[str, str]) -> Iterator[str]:
    for name in chosen.only or [*SETTINGS, *([] if chosen.whole else [REST])]:
        past = recorded.get(name, {})
        if not (chosen.resume and past.get("machine") == here and past.get("whole", False) >= chosen.whole):
            yield name


def said(name: str, found: dict[str, Any]) -> str:
    """The outcome of a setting, in a line, and below it what failed."""
    counts = f"{found['passed']} passed, {len(found['failed'])} failed, {len(found['failed_alone'])} of them alone too"
    lines = [f"{name}: {counts}, {found['skipped']} skipped"]
    lines += [f"  failed{' alone too' if test in found['failed_alone'] else ''}: {test}" for test in found["failed"]]
    return "\n".join([*lines, *(f"  {line}" for line in found.get("no_answer", ()))])


def main() -> int:
    parser = argparse.ArgumentParser(description="the suite under the settings of other CPUs")
    parser.add_argument("--only", action="append", choices=[*SETTINGS, REST], help="leave the others out")
    parser.add_argument("--whole", action="store_true", help="every test under every setting")
    parser.add_argument("--workers", type=int, default=0, help="of pytest-xdist; 0 is none")
    parser.add_argument("--record", action="store_true", help=f"write what was run into {RECORD.name}")
    parser.add_argument("--resume", action="store_true", help="leave out what was recorded with this text")
    chosen = parser.parse_args()
    recorded = json.loads(RECORD.read_text())["settings"] if RECORD.exists() else {}
    here, bad = machine(), False
    for name in chosen_settings(chosen, recorded, here):
        tests = ["tests"] if chosen.whole else rest() if name == REST else figures()
        found = run(SETTINGS.get(name, threads(1)), tests, chosen.workers)
        print(said(name, found), flush=True)
        bad |= bool(found["failed_alone"] or "no_answer" in found)
        if chosen.record:  # after each, as all of them take an hour
            recorded[name] = {**found, "whole": chosen.whole, "machine": here}
            RECORD.write_text(json.dumps({"settings": recorded}, indent=1) + "\n")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())

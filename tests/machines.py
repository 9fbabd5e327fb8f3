"""The suite as other CPUs would run it: `python tests/machines.py [--only SETTING]... [--whole] [--record]`.

A machine differs in the vector width that torch, oneDNN and MKL compute with, and in its threads: each is set by an
environment variable, read when a process starts, so each setting is a pytest process of its own. The files that
compare figures run under every setting, the others once; with `--whole` all run under all. Exit code 1: a test failed
somewhere. `--record` writes what came of it to `machines.json`, setting by setting.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import torch

HERE = Path(__file__).resolve().parent
RECORD = HERE / "machines.json"
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
    files = [str(file.relative_to(HERE.parent)) for file in sorted(HERE.rglob("test_*.py"))]
    return [file for file in files if file not in figures()]


def run(environment: dict[str, str], tests: list[str]) -> dict[str, object]:
    """Counts of one pytest process, and what failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
        done = subprocess.run(
            command, cwd=HERE.parent, env={**os.environ, **environment}, capture_output=True, text=True
        )
        if not report.exists():
            raise SystemExit(f"pytest wrote no report:\n{(done.stdout + done.stderr)[-2000:]}")
        cases = list(ElementTree.parse(report).iter("testcase"))
    kinds = [{child.tag for child in case} for case in cases]
    failed = [f"{case.get('classname')}::{case.get('name')}" for case, kind in zip(cases, kinds, strict=True)
              if kind & {"failure", "error"}]  # fmt: skip
    skipped = sum("skipped" in kind for kind in kinds)
    return {"passed": len(cases) - len(failed) - skipped, "skipped": skipped, "failed": sorted(set(failed))}


def main() -> int:
    parser = argparse.ArgumentParser(description="the suite under the settings of other CPUs")
    parser.add_argument("--only", action="append", choices=[*SETTINGS, "the rest"], help="leave the others out")
    parser.add_argument("--whole", action="store_true", help="every test under every setting")
    parser.add_argument("--record", action="store_true", help=f"write what was run into {RECORD.name}")
    chosen = parser.parse_args()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"settings": {}}
    found: dict[str, dict[str, object]] = {}
    for name, environment in [*SETTINGS.items(), ("the rest", threads(1))]:
        if name not in (chosen.only or [*SETTINGS, *([] if chosen.whole else ["the rest"])]):
            continue
        tests = ["tests"] if chosen.whole else rest() if name == "the rest" else figures()
        found[name] = run(environment, tests)
        print(f"{name}: {found[name]['passed']} passed, {found[name]['skipped']} skipped", flush=True)
        for test in found[name]["failed"]:  # type: ignore[attr-defined]
            print(f"  failed: {test}", flush=True)
        if chosen.record:  # after each, as all of them take an hour
            record["torch"], record["vectors"] = torch.__version__, torch.backends.cpu.get_cpu_capability()
            record["settings"][name] = found[name]
            RECORD.write_text(json.dumps(record, indent=1) + "\n")
    return int(any(result["failed"] for result in found.values()))


if __name__ == "__main__":
    sys.exit(main())

"""Graphs asked of the process that makes them: a port's prefill and decode, in a dtype.

Contract: in float32 the lowering's own task answers; in 16 bits `porter.graph.worker`, which is that process with one
task more. Refused as `porter.lowering.process.ask` is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from porter.diagnostics import Refused
from porter.lowering import process
from porter.lowering.installation import Progress, find_or_install
from porter.lowering.stand_ins import cann_is_installed, find_or_build


def ask_for_graphs(
    directory: Path,
    checkpoint: Path,
    soc: str,
    progress: Progress,
    *,
    dtype: torch.dtype = torch.float32,
    unchecked: bool = False,
) -> dict[str, Any] | Refused:
    """The graphs of a port with the weights of `checkpoint`, as plain data, and what they were made with."""
    job = {"soc": soc, "directory": str(directory.resolve()), "checkpoint": str(checkpoint), "unchecked": unchecked}
    if dtype == torch.float32:
        return process.ask("graphs", job, progress)
    wheel = find_or_install(progress)
    if isinstance(wheel, Refused):
        return wheel
    stands_in = not cann_is_installed()
    libraries = find_or_build(wheel) if stands_in else ()
    if isinstance(libraries, Refused):
        return libraries
    host = {"folders": [str(folder) for folder in wheel.folders], "libraries": [str(path) for path in libraries]}
    job |= {"task": "graphs in", "host": host, "dtype": str(dtype).removeprefix("torch.")}
    answer = _answered(job)
    return answer if isinstance(answer, Refused) else {**answer, **process._made_with(wheel, stands_in)}


def _answered(job: dict[str, Any]) -> dict[str, Any] | Refused:
    with (
        tempfile.TemporaryDirectory(prefix="porter-graphs-") as name,
        open(Path(name) / "log", "w+") as log,
        open(Path(name) / "told", "w+") as told,
    ):
        ended = subprocess.run(
            [sys.executable, "-m", "porter.graph.worker", str(told.fileno())],
            input=json.dumps(job),
            stdout=log,
            stderr=log,
            pass_fds=(told.fileno(),),
            cwd=name,
            env=process._environment(),
            text=True,
            check=False,
        )
        told.seek(0)
        answers = [value for kind, value in map(json.loads, told) if kind == "answer"]
        return answers[0] if answers else process._ended(ended.returncode, log)

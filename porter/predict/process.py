"""The process that lowers a model at its real sizes: started, asked once, and gone.

Contract: this process never imports torch_npu. What it is asked and what it answers is plain data, in files of a folder
that is removed; progress comes line by line while it works. A process that ends without an answer is Refused with its
last words (P115).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import porter
from porter.diagnostics import Refused, refused
from porter.lowering.installation import Progress, find_or_install
from porter.lowering.stand_ins import cann_is_installed, find_or_build


def ask(asked: list[dict[str, Any]], soc: str, progress: Progress) -> list[dict[str, Any]] | Refused:
    """An answer for each model, as `worker` gives them. Refused as lowering is, where there is no torch_npu."""
    wheel = find_or_install(progress)
    if isinstance(wheel, Refused):
        return wheel
    libraries = () if cann_is_installed() else find_or_build(wheel)
    if isinstance(libraries, Refused):
        return libraries
    host = {"folders": [str(folder) for folder in wheel.folders], "libraries": [str(path) for path in libraries]}
    with tempfile.TemporaryDirectory(prefix="porter-predict-") as name:
        return _run({"host": host, "soc": soc, "asked": asked}, Path(name), progress)


def _run(job: dict[str, Any], folder: Path, progress: Progress) -> list[dict[str, Any]] | Refused:
    task, answer, log = folder / "task.json", folder / "answer.json", folder / "log"
    task.write_text(json.dumps(job), encoding="utf-8")
    ours, theirs = os.pipe()
    with log.open("w") as talk:  # what torch_npu prints is no part of any answer
        words = [sys.executable, "-m", "porter.predict.worker", str(task), str(answer), str(theirs)]
        worker = subprocess.Popen(words, stdout=talk, stderr=talk, pass_fds=(theirs,), cwd=folder, env=_environment())
        os.close(theirs)
        try:
            with open(ours, encoding="utf-8") as told:
                for line in told:
                    progress(*json.loads(line))
        except BaseException:  # interrupted: leave no process behind
            worker.kill()
            raise
        finally:
            worker.wait()
    if answer.is_file():
        made: list[dict[str, Any]] = json.loads(answer.read_text(encoding="utf-8"))
        return made
    last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-3:]
    message = f"the process that loads torch_npu ended with code {worker.returncode} and no answer"
    return refused("P115", message, "see what it said last", *last)


def _environment() -> dict[str, str]:
    here = str(Path(porter.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}

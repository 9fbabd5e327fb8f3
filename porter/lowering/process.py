"""A process of its own for torch_npu: ask it one thing, get plain data back.

Contract: this process never imports torch_npu. The other one runs in an empty folder, which is removed with whatever
TorchAir leaves there, and ends with its answer. A process that ends without one is Refused with its last words (P115).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import porter
from porter.diagnostics import Diagnostic, Refused
from porter.lowering.installation import Progress, find_or_install
from porter.lowering.stand_ins import cann_is_installed, find_or_build


def ask(
    task: str,
    job: dict[str, Any],
    progress: Progress,
    cache: Path | None = None,
    *,
    worker: str = "porter.lowering.worker",
) -> dict[str, Any] | Refused:
    """What the module `worker` answers to a task; the answer also says which torch_npu and whether CANN is a stand-in.

    Refused as `installation` and `stand_ins` are, before the process is started.
    """
    wheel = find_or_install(progress, cache)
    if isinstance(wheel, Refused):
        return wheel
    stands_in = not cann_is_installed()
    libraries = find_or_build(wheel, cache) if stands_in else ()
    if isinstance(libraries, Refused):
        return libraries
    host = {"folders": [str(folder) for folder in wheel.folders], "libraries": [str(path) for path in libraries]}
    answer = _run(worker, {"task": task, "host": host, **job}, progress)
    made_with = {"torch_npu": wheel.version, "cann": "stand-in" if stands_in else "installed"}
    return answer if isinstance(answer, Refused) else {**answer, **made_with}


def _run(module: str, job: dict[str, Any], progress: Progress) -> dict[str, Any] | Refused:
    ours, theirs = os.pipe()
    answer = None
    with tempfile.TemporaryDirectory(prefix="porter-lowering-") as name, open(Path(name) / "log", "w+") as log:
        # the log takes what torch_npu prints, which is no part of any answer
        worker = subprocess.Popen(
            [sys.executable, "-m", module, str(theirs)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(theirs,),
            cwd=name,
            env=_environment(),
            text=True,
        )
        os.close(theirs)
        try:
            assert worker.stdin is not None
            with open(ours, encoding="utf-8") as told:
                with contextlib.suppress(BrokenPipeError):  # it ended before it read: its last words say why
                    worker.stdin.write(json.dumps(job))
                    worker.stdin.close()
                for line in told:
                    kind, value = json.loads(line)
                    if kind == "answer":
                        answer = value
                    else:
                        progress(*value)
        except BaseException:  # interrupted, or what reports progress raised: leave no process behind
            worker.kill()
            raise
        finally:
            worker.wait()
        return answer if answer is not None else _ended(worker.returncode, log)


def _environment() -> dict[str, str]:
    here = str(Path(porter.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}


def _ended(code: int, log: Any) -> Refused:
    log.seek(0)
    last = [line for line in log.read().splitlines() if line.strip()][-3:]
    message = f"the process that loads torch_npu ended with code {code} and no answer"
    return Refused((Diagnostic("P115", message, notes=tuple(last), help="see what it said last"),))

"""The process that loads torch_npu: one task from stdin, progress and the answer to the pipe it is given.

Contract: started by `process` only, as `python -m porter.lowering.worker FD`, or as another module that serves tasks of
its own. A task is a JSON document with `task` and its arguments; each line on the pipe is ["progress", [...]] or
["answer", {...}].
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from porter.lowering import host

Tell = Callable[[str, Any], None]
Task = Callable[[dict[str, Any], Tell], dict[str, Any]]


def serve(tasks: Mapping[str, Task]) -> None:
    channel = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")

    def tell(kind: str, value: Any) -> None:
        channel.write(json.dumps([kind, value]) + "\n")
        channel.flush()

    job = json.load(sys.stdin)
    host.load(job["host"], job.get("soc", "Ascend910B3"))
    tell("answer", tasks[job["task"]](job, tell))
    channel.close()
    os._exit(0)  # at exit torch_npu would finalize a device it never had


def lower(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Every trace asked for: GE nodes of each, or what did not convert."""
    from transformers.utils import logging

    from porter.diagnostics import Refused
    from porter.lowering.steps import Setting
    from porter.release import OtherRelease
    from porter.verify.port import open_port

    logging.set_verbosity_error()
    traces: list[dict[str, Any]] = []
    stopped: dict[str, dict[str, Any]] = {}  # what did not convert with one layer will not with two
    for index, asked in enumerate(job["traces"]):
        key = json.dumps({**asked, "layers": 0})
        if key in stopped:
            traces.append(stopped[key])
            continue
        setting = Setting(asked["attention"], asked["cache"])
        tell("progress", [f"{asked['model']}, {asked['phase']}, {asked['layers']} layers", index, len(job["traces"])])
        port = open_port(Path(asked["directory"]), edited=True, trust_remote_code=True)
        assert not isinstance(port, Refused), "asked, for consent too, before this process was started"
        try:
            model_class = port.load_class() if asked["model"] == "port" else port.load_source_class()
        except OtherRelease as error:
            traces.append(_failed(str(error)))
            continue
        if isinstance(model_class, Refused):  # a source that imports what is not installed
            said = model_class.diagnostics[0]
            traces.append(_failed("; ".join((said.message, *said.notes))))
        else:
            traces.append(_trace(model_class, setting, asked, text=job["text"]))
        if traces[-1]["failure"]:
            stopped[key] = traces[-1]
    return {"traces": traces}


def _trace(model_class: Any, setting: Any, asked: dict[str, Any], *, text: bool) -> dict[str, Any]:
    from porter.lowering.record import Recorder
    from porter.lowering.steps import run_compiled

    recorder = Recorder()
    try:
        with recorder.recording():
            run_compiled(model_class, setting, asked["layers"], asked["phase"], recorder.backend())
    except Exception as error:  # a model's code and a converter may raise anything
        return _failed(f"{type(error).__name__}: {error}", recorder.unconverted)
    return {"nodes": recorder.graphs[-1], "failure": None, "text": recorder.texts[-1] if text else ""}


def _failed(reason: str, unconverted: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"nodes": None, "failure": unconverted or {"op": "", "reason": reason, "frames": []}, "text": ""}


def graphs(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """The GE graphs of a port's prefill and decode in `dtype` with the weights of a checkpoint, whole; or what did not
    convert. `unchecked`: also where a node does not say what its call says.
    """
    import torch
    from transformers.utils import logging

    from porter.diagnostics import Refused
    from porter.lowering.handed import Handing, hand_over
    from porter.lowering.steps import PHASES
    from porter.verify.pair import load
    from porter.verify.port import open_port

    logging.set_verbosity_error()
    port = open_port(Path(job["directory"]), edited=True, trust_remote_code=True)
    assert not isinstance(port, Refused), "asked, for consent too, before this process was started"
    made: dict[str, Any] = {}
    for index, phase in enumerate(PHASES):
        tell("progress", [phase, index, len(PHASES)])
        recorder = Handing(checked=not job["unchecked"])
        try:
            model = load(port.load_class(), Path(job["checkpoint"]), getattr(torch, job["dtype"]))
            made[phase] = hand_over(model, phase, recorder)
        except Exception as error:  # a model's code and a converter may raise anything
            cause = getattr(error, "inner_exception", error)  # of a backend's failure
            failed = _failed(f"{type(cause).__name__}: {cause}", recorder.unconverted)
            return {"graphs": None, "phase": phase, "failure": failed["failure"]}
    return {"graphs": made, "failure": None}


def conformance(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """What the wheel says of porter's ops: schemas, what its meta kernels return, GE nodes, the graph of a port."""
    from porter.lowering.conformance import graphs, lowered, outputs, schemas

    return {
        "schemas": schemas(job["ops"]),
        "outputs": [outputs(call) for call in job["calls"]],
        "lowered": [lowered(call) for call in job.get("lowered", ())],
        "graphs": graphs(Path(job["directory"])) if job["directory"] else None,
    }


TASKS: dict[str, Task] = {
    "lower": lower,
    "graphs": graphs,
    "conformance": conformance,
}

if __name__ == "__main__":
    serve(TASKS)

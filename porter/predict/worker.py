"""The process that lowers models at their real sizes, on the meta device: nothing is allocated.

Contract: started by `lowering.process` only, and speaks as `lowering.worker` does. What a model's code or a converter
raises is an answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from porter.lowering.worker import Tell, serve


def lower(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """An answer for each model that is asked for."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    made = []
    for index, asked in enumerate(job["asked"]):
        tell("progress", [asked["called"], index, len(job["asked"])])
        made.append(_answer(asked))
    return {"made": made}


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    from porter.diagnostics import Refused
    from porter.lowering.record import Recorder
    from porter.predict.real import at_real_size
    from porter.verify.port import open_port

    port = open_port(Path(asked["directory"]), edited=True, trust_remote_code=True)
    assert not isinstance(port, Refused), "asked, for consent too, before this process was started"
    try:
        model_class = port.load_class() if asked["model"] == "port" else port.load_source_class()
        if isinstance(model_class, Refused):
            return {"failure": model_class.diagnostics[0].message}
        return {"failure": "", **at_real_size(model_class, asked, port.split_points, Recorder)}
    except Exception as error:  # a model's code and a converter may raise anything
        cause = getattr(error, "inner_exception", error)  # of a backend's failure
        first = next(iter(str(cause).strip().splitlines()), "")
        return {"failure": f"{type(cause).__name__}: {first}"}


if __name__ == "__main__":
    serve({"at real size": lower})

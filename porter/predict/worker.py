"""The process that loads torch_npu and lowers models at their real sizes, on the meta device: nothing is allocated.

Contract: started by `process` only, as `python -m porter.predict.worker TASK ANSWER FD`: files of JSON, and the pipe
that progress goes to. What a model's code or a converter raises is an answer.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from porter.lowering.host import load


def main() -> None:
    task, answer, channel = Path(sys.argv[1]), Path(sys.argv[2]), os.fdopen(int(sys.argv[3]), "w", encoding="utf-8")
    job = json.loads(task.read_text(encoding="utf-8"))
    load(job["host"], job["soc"])
    from transformers.utils import logging

    logging.set_verbosity_error()
    made = []
    for index, asked in enumerate(job["asked"]):
        channel.write(json.dumps([asked["called"], index, len(job["asked"])]) + "\n")
        channel.flush()
        made.append(_answer(asked))
    answer.write_text(json.dumps(made), encoding="utf-8")
    channel.close()
    os._exit(0)  # at exit torch_npu would finalize a device it never had


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
    main()

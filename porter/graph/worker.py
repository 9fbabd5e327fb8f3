"""The process that makes graphs in a dtype: `porter.lowering.worker` with one task more, and how it is asked.

Contract: the lowering's own task loads a port in float32; `graphs_in` loads it in `dtype`, and answers alike.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch  # torch_npu comes before all that registers its ops


class InDtype:
    """A model class whose checkpoints are loaded in `dtype`, whatever is asked."""

    def __init__(self, model_class: Any, dtype: torch.dtype) -> None:
        self._class, self._dtype = model_class, dtype

    def from_pretrained(self, folder: Path, **asked: Any) -> Any:
        from porter.verify.pair import load

        return load(self._class, folder, **{**asked, "dtype": self._dtype})


def graphs_in(job: dict[str, Any], tell: Callable[[str, Any], None]) -> dict[str, Any]:
    """The GE graphs of a port's prefill and decode in `dtype`, whole; or what did not convert."""
    import torch
    from transformers.utils import logging

    from porter.diagnostics import Refused
    from porter.lowering.handed import Handing, hand_over
    from porter.lowering.steps import PHASES
    from porter.verify.port import open_port

    logging.set_verbosity_error()
    port = open_port(Path(job["directory"]), edited=True, trust_remote_code=True)
    assert not isinstance(port, Refused), "asked, for consent too, before this process was started"
    kind = InDtype(port.load_class(), getattr(torch, job["dtype"]))
    made: dict[str, Any] = {}
    for index, phase in enumerate(PHASES):
        tell("progress", [phase, index, len(PHASES)])
        recorder = Handing(checked=not job["unchecked"])
        try:
            made[phase] = hand_over(kind, Path(job["checkpoint"]), phase, recorder)
        except Exception as error:  # a model's code and a converter may raise anything
            cause = getattr(error, "inner_exception", error)  # of a backend's failure
            plain = {"op": "", "reason": f"{type(cause).__name__}: {cause}", "frames": []}
            return {"graphs": None, "phase": phase, "failure": recorder.unconverted or plain}
    return {"graphs": made, "failure": None}


def main() -> None:
    from porter.lowering import worker

    worker.TASKS["graphs in"] = graphs_in
    worker.main()


if __name__ == "__main__":
    main()

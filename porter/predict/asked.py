"""Models lowered at their real sizes, asked of the process that loads torch_npu."""

from __future__ import annotations

from typing import Any

from porter.diagnostics import Refused
from porter.lowering import process
from porter.lowering.installation import Progress


def ask(asked: list[dict[str, Any]], soc: str, progress: Progress) -> list[dict[str, Any]] | Refused:
    """An answer for each model, as `worker` gives them. Refused as `porter.lowering.process.ask` is."""
    job = {"soc": soc, "asked": asked}
    answer = process.ask("at real size", job, progress, worker="porter.predict.worker")
    return answer if isinstance(answer, Refused) else list(answer["made"])

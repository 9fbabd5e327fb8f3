"""What a runner cannot do, said before any long work begins."""

from __future__ import annotations

from porter.diagnostics import Diagnostic


class CannotRun(ValueError):
    """The user asked for something that cannot work; `diagnostic` is the message as a value."""

    def __init__(self, code: str, message: str, help: str | None = None, *notes: str) -> None:
        self.diagnostic = Diagnostic(code, message, notes=notes, help=help)
        super().__init__("; ".join([message, *notes, *([help] if help else [])]))


def keeps_its_cache(name: str, help: str) -> CannotRun:
    """The error for compiled steps of a port that is none of `NpuPreTrainedModel`."""
    message = f"`{name}` keeps its source's KV cache, which grows: its steps cannot be compiled as one graph"
    return CannotRun("P086", message, help)

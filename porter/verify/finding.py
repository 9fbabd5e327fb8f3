"""What one check found, as a value with its figure."""

from __future__ import annotations

from dataclasses import dataclass

PASSED, FAILED, NOT_APPLICABLE = "passed", "failed", "not applicable"


@dataclass(frozen=True)
class Measured:
    """A figure and the limit it must not exceed. `unit` names the figure: `of the logits' scale`, `tokens differ`."""

    figure: float
    limit: float
    unit: str
    detail: str = ""

    @property
    def passed(self) -> bool:
        return self.figure <= self.limit  # NaN does not pass


@dataclass(frozen=True)
class Check:
    """One claim on one variant of the configuration.

    outcome: `passed`, `failed` or `not applicable`; figure and limit are None where nothing was measured.
    """

    name: str
    variant: str
    outcome: str
    figure: float | None = None
    limit: float | None = None
    unit: str = ""
    detail: str = ""

    @property
    def passed(self) -> bool:
        return self.outcome == PASSED

    @property
    def failed(self) -> bool:
        return self.outcome == FAILED

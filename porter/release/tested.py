"""What was run under which releases: the record that `tests/releases/run.py` writes, read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.release.window import release_of

RECORD = Path(__file__).with_name("tested.json")


@dataclass(frozen=True)
class Tried:
    """One environment: its versions; of each port how many checks passed and failed, and which sites were left."""

    python: str
    torch: str
    transformers: str
    short: bool  # whether the short suite passed
    ports: dict[str, dict[str, Any]]
    library: dict[str, int] | None = None  # causal language models: all files, converted, whole, and by how many rules

    @property
    def whole(self) -> int:
        """Ports with nothing left."""
        return sum("refused" not in port and not port.get("open") for port in self.ports.values())

    @property
    def passed(self) -> int:
        return sum(port.get("passed", 0) for port in self.ports.values())

    @property
    def good(self) -> bool:
        """Whether all that was run passed; a site that was left is no failure."""
        return self.short and not any(port.get("failed") or "refused" in port for port in self.ports.values())

    def is_of(self, package: str, version: str) -> bool:
        """Whether it was run with the release of a package that a version belongs to."""
        return release_of(str(getattr(self, package))) == release_of(version)


def tested_stacks() -> tuple[Tried, ...]:
    """Everything recorded, in the order of releases."""
    rows = json.loads(RECORD.read_text(encoding="utf-8"))["stacks"]
    return tuple(Tried(**row) for row in rows)

"""Another release of transformers in front of an environment: `python tests/releases/environment.py RELEASE FOLDER`.

FOLDER gets that release, and of what it asks for only what this environment has in no version that would do: torch is
never installed. Who puts FOLDER first in PYTHONPATH imports them; the environment stays as it is. By pip, once.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement


def prepare(release: str, folder: Path) -> None:
    """Install into `folder` until nothing is lacking; CalledProcessError where pip cannot."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [Requirement(f"transformers=={release}")]
    while needs := lacking(wanted, folder):
        words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--upgrade"]
        subprocess.run([*words, "--disable-pip-version-check", "--target", str(folder), *needs], check=True)
        found = importlib.metadata.distributions(path=[str(folder)])
        wanted += [Requirement(line) for distribution in found for line in distribution.requires or ()]


def lacking(wanted: Iterable[Requirement], folder: Path) -> list[str]:
    """Those of `wanted` that hold here and that neither the folder nor this environment has."""
    asked = (one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""}))
    return sorted({f"{one.name}{one.specifier}" for one in asked if not _has(one, [str(folder), *sys.path])})


def _has(requirement: Requirement, places: list[str]) -> bool:
    """Whether the first of its name, which is the one that would be imported, will do."""
    first = next(iter(importlib.metadata.distributions(name=requirement.name, path=places)), None)
    return first is not None and requirement.specifier.contains(first.version, prereleases=True)


if __name__ == "__main__":
    prepare(sys.argv[1], Path(sys.argv[2]))

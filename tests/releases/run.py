"""porter under other releases: `python tests/releases/run.py RELEASE... [--python PYTHON] [--record] [--library]`.

Each RELEASE of transformers is put in front of an environment by pip (see `environment.py`), that of PYTHON if another
one is given: for another torch, say. There the short suite runs (`short.py`). `--record` also makes the checked-in
ports anew and compares them with their sources (`ports.py`), and writes what came of it to
`porter/release/tested.json`, which `porter doctor` reads; `--library` counts what is converted and whole of all
models, too. Exit code 1: something failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from porter.diagnostics import Refused
from porter.emit.account import account
from porter.rulebook import load_rules
from porter.shipped import shipped

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "porter" / "release" / "tested.json"


class Stack:
    """An interpreter with a release of transformers in front of what it has."""

    def __init__(self, python: str, release: str, folder: Path) -> None:
        self.python, self.release = python, release
        self.call("tests/releases/environment.py", release, str(folder), packages=(), check=True)
        self.packages = (str(folder),)

    def call(self, *words: str, packages: tuple[str, ...] | None = None, **options: Any) -> Any:
        places = (*(self.packages if packages is None else packages), str(ROOT))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
        command = [self.python, *words]
        return subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, text=True, **options)

    def short(self) -> bool:
        """Whether the short suite passes; pytest says what fails."""
        words = ["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/releases/short.py"]
        return self.call(*words).returncode == 0

    def ports(self) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "ports.json"
            self.call("tests/releases/ports.py", str(file), check=True)
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return found

    def library(self) -> dict[str, int]:
        """Files with a causal language model: how many there are, are converted, are whole, and by how many rules."""
        with tempfile.TemporaryDirectory() as place:
            rows = Path(place) / "rows.json"
            words = ["-m", "porter", "matrix", "--level", "port", "--json", str(rows)]
            self.call(*words, stdout=subprocess.DEVNULL)  # 1 where a file is wrong: its row says so
            return {**counted(json.loads(rows.read_text())["rows"]), "rules": shipped_rules()}


def counted(rows: list[dict[str, Any]]) -> dict[str, int]:
    outcomes = Counter(row["outcome"] for row in rows)
    return {"files": len(rows), "converted": outcomes["converted"], "whole": sum(row["whole"] for row in rows)}


def shipped_rules() -> int:
    """A count of the library says no more than the rules of its day."""
    rules = load_rules(shipped("rules"))
    assert not isinstance(rules, Refused), rules
    return len(rules)


def write(row: dict[str, Any]) -> None:
    """Put a row in the place of what was recorded of the same torch and transformers."""
    rows = json.loads(RECORD.read_text())["stacks"] if RECORD.exists() else []
    same = [old for old in rows if _key(old) == _key(row)]
    merged = {**(same[0] if same else {}), **row}
    rows = sorted([*(old for old in rows if _key(old) != _key(row)), merged], key=_key)
    RECORD.write_text(account({"stacks": rows}), encoding="utf-8")


def _key(row: dict[str, Any]) -> list[list[int]]:
    digits = (row[name].partition("+")[0].split(".") for name in ("torch", "transformers"))
    return [[int(number) for number in version] for version in digits]


def main() -> int:
    parser = argparse.ArgumentParser(description="porter under other releases of transformers")
    parser.add_argument("releases", nargs="+", metavar="RELEASE")
    parser.add_argument("--python", default=sys.executable, help="the interpreter of another environment")
    parser.add_argument("--folder", type=Path, help="where to keep what is installed, for the next time")
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    parser.add_argument("--library", action="store_true", help="with --record: count the whole library")
    chosen = parser.parse_args()
    failed = []
    with tempfile.TemporaryDirectory() as place:
        for release in chosen.releases:
            begun = time.monotonic()
            stack = Stack(chosen.python, release, (chosen.folder or Path(place)) / release)
            good = stack.short()
            if chosen.record:
                found = {**stack.ports(), "short": good}
                write(found | {"library": stack.library()} if chosen.library else found)
                good &= not any(port.get("failed") or "refused" in port for port in found["ports"].values())
            failed += [] if good else [release]
            said = "good" if good else "FAILED"
            print(f"transformers {release}: {said}, {time.monotonic() - begun:.0f} s", flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

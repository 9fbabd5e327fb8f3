"""What becomes of the checked-in ports under the releases of this environment, written to a file as JSON.

`python tests/releases/ports.py FILE` converts each source anew, and compares what comes of it with the source. Of
Llama's port all configurations are compared, of the others the base alone.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.source import load_source
from porter.verify.parity import verify

MODELS = Path(__file__).resolve().parents[2] / "generated_models"
OF_ALL = "llama2"


def stack() -> dict[str, str]:
    """The versions at hand."""
    names = ("torch", "transformers")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def outcome(module: str, name: str, folder: Path) -> dict[str, Any]:
    """How many sites have each status, which are open, and what comparing with the source gives."""
    source = load_source(module)
    ported = source if isinstance(source, Refused) else convert(source, name=name)
    if isinstance(ported, Refused):
        return {"refused": ported.diagnostics[0].message}
    written = emit(ported, folder)
    assert not isinstance(written, Refused), written
    found = {"sites": dict(Counter(site.status for site in ported.sites))}
    still_open = [site.name for site in ported.sites if site.status not in ("ported", "verdict")]
    found |= {"open": still_open} if still_open else {}
    checks = verify(folder, quick=name != OF_ALL)
    if isinstance(checks, Refused):
        return {**found, "refused": checks.diagnostics[0].message}
    failed = [f"{check.name}: {check.detail}" for check in checks if check.failed]
    return {**found, "passed": sum(check.passed for check in checks), "failed": failed}


def main() -> None:
    found = {}
    with tempfile.TemporaryDirectory() as place:
        for account in sorted(MODELS.glob("*/port.json")):
            source = json.loads(account.read_text(encoding="utf-8"))["source"]
            name = account.parent.name
            found[name] = outcome(source["module"], name, Path(place) / name)
            print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    Path(sys.argv[1]).write_text(json.dumps({**stack(), "ports": found}), encoding="utf-8")


if __name__ == "__main__":
    main()

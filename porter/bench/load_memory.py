"""Peak memory of loading a checkpoint, each model in a process of its own.

Contract: figures are growth while `from_pretrained` runs and every weight is then read once, in bytes: what torch,
transformers and the classes need is there before. Safetensors are mapped, not read: a weight that stays as it is in its
file costs no memory of the process's own, a merged one does. `own` is that memory, what has no file behind it; a second
copy of the weights would be in it. `resident` has the mapped pages too, also those of parts that were merged since: the
system takes such pages back when it needs them. Linux only.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

_EVERY = 0.0005  # seconds between two looks


@dataclass(frozen=True)
class Peak:
    """Greatest growth in bytes: of memory without a file behind it, and of all that is resident."""

    own: int
    resident: int


def peak_of_loading(checkpoint: Path, port: Path, which: str) -> Peak:
    """Of `which`, "port" or "source", for the port in folder `port`. Raises RuntimeError where loading fails."""
    command = [sys.executable, "-m", "porter.bench.load_memory", str(checkpoint), str(port), which]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"loading the {which} failed:\n{done.stderr}")
    return Peak(**json.loads(done.stdout.splitlines()[-1]))


def peak_while(work: Callable[[], Any]) -> Peak:
    """Looks at this process's memory from a second thread while `work` runs."""
    gc.collect()
    before, seen, stop = _memory(), [_memory()], threading.Event()

    def look() -> None:
        while not stop.wait(_EVERY):
            seen.append(_memory())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        work()
    finally:
        stop.set()
        watcher.join()
    seen.append(_memory())
    own, resident = (max(values) - start for values, start in zip(zip(*seen, strict=True), before, strict=True))
    return Peak(own, resident)


def _memory() -> tuple[int, int]:
    """Bytes without a file behind them, and all resident ones."""
    _, resident, shared, *_ = (int(pages) for pages in Path("/proc/self/statm").read_text().split())
    page = os.sysconf("SC_PAGE_SIZE")
    return (resident - shared) * page, resident * page


def _load(model_class: Any, checkpoint: str) -> Any:
    model = model_class.from_pretrained(checkpoint)
    for parameter in model.parameters():
        parameter.view(torch.uint8).max()  # no wider copy of it, as a sum would make
    return model


def main() -> None:
    from porter.diagnostics import Refused
    from porter.verify.port import open_to_compare

    checkpoint, port, which = sys.argv[1:]
    opened = open_to_compare(Path(port))
    assert not isinstance(opened, Refused), opened
    model_class = opened.load_class() if which == "port" else opened.load_source_class()
    torch.set_num_threads(1)
    kept: list[Any] = []
    print(json.dumps(asdict(peak_while(lambda: kept.append(_load(model_class, checkpoint))))))


if __name__ == "__main__":
    main()

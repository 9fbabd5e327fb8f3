"""The port over tensor-parallel ranks, a process each, beside its source on the host.

    python -m porter.accept.ranks JOB RANK      # what each rank runs; started by `over_ranks`

Contract: the small model, cut as the runner cuts it, prompts padded on the left and cached steps; on an NPU in bfloat16
by the error rule, on the CPU over gloo in float32. CUDA is not served by `porter.parallel`. Ranks end with the probe.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import porter
from porter.accept.errors import beside_source
from porter.accept.model import small_model
from porter.accept.probe import LOST, NOT_RUN, Say
from porter.accept.sides import Sides
from porter.accept.steps import PROMPT, eager_logits, tokens_of, truth_of_tokens
from porter.verify.port import Port, open_port

_DTYPES = {"npu": torch.bfloat16, "cpu": torch.float32}


def over_ranks(port: Port, sides: Sides, size: int, say: Say) -> None:
    """Say one entry: logits behind a prompt and behind each of a few tokens, on rank 0."""
    what = f"{size} ranks"
    if port.split_points is None:
        say({"call": what, "outcome": NOT_RUN, "detail": "nothing says how the port is split over ranks"})
        return
    dtype = _DTYPES[sides.device.type]
    with small_model(port) as small, tempfile.TemporaryDirectory() as name:
        ids, mask = tokens_of(small)
        truth = truth_of_tokens(small, ids, mask)
        alone = eager_logits(small.port(dtype).to(sides.device), ids, mask, sides.device)
        files = {what: str(Path(name) / what) for what in ("tokens", "logits", "meet")}
        places = {"port": str(port.directory.resolve()), "checkpoint": str(small.folder)}
        torch.save((ids, mask), files["tokens"])
        fault = _started({**places, **files, "size": size, "device": sides.device.type}, Path(name))
        if fault:
            say({"call": what, "outcome": LOST, "detail": fault})
            return
        found = torch.load(files["logits"])
    kind = str(dtype).removeprefix("torch.")
    say({"call": f"{what}, a prompt of {PROMPT} and steps", "dtype": kind, **beside_source(found, alone, truth)})


def _started(job: dict[str, Any], folder: Path) -> str:
    """Run every rank to its end; what went wrong, or nothing."""
    here = str(Path(porter.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "porter.accept.ranks", json.dumps(job)]
    logs = [folder / f"log {rank}" for rank in range(job["size"])]
    ranks = []
    for rank, log in enumerate(logs):
        with open(log, "w") as stream:
            environment = {**os.environ, "PYTHONPATH": path}
            ranks.append(subprocess.Popen([*command, str(rank)], stdout=stream, stderr=stream, env=environment))
    codes = [rank.wait() for rank in ranks]
    wrong = next((rank for rank, code in enumerate(codes) if code), None)
    if wrong is None:
        return ""
    lines = [line for line in logs[wrong].read_text(errors="replace").splitlines() if line.strip()]
    return f"rank {wrong} ended with code {codes[wrong]}: {lines[-1][:300] if lines else 'without a word'}"


def _rank(job: dict[str, Any], rank: int) -> None:
    from porter.parallel import init_ranks, leave_ranks, shard

    port = open_port(Path(job["port"]), edited=True, trust_remote_code=True)  # whoever asked for this has consented
    assert isinstance(port, Port) and port.split_points is not None
    place = init_ranks(rank, rank, job["size"], job["device"], init_method=f"file://{job['meet']}")
    model = port.load_class().from_pretrained(job["checkpoint"], dtype=_DTYPES[job["device"]]).eval()
    split = port.split_points
    model = shard(model, (port.module, split["layer_class"], tuple(split["row_parallel"])), job["size"])
    ids, mask = torch.load(job["tokens"])
    logits = eager_logits(model, ids, mask, place.device)
    if rank == 0:
        torch.save(logits, job["logits"])
    leave_ranks()


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    if asked["device"] == "npu":
        import torch_npu  # noqa: F401  before porter's ops
    _rank(asked, int(sys.argv[2]))

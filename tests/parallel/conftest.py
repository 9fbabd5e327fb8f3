"""Two processes, once for all cases and all workers of a run; no port for the rendezvous, bounded in time, children
ended by their own pid."""

import importlib.util
import os
import time

import pytest
import torch
from filelock import FileLock
from torch import multiprocessing

from tests.parallel import experts, tiny, two_ranks

LIMIT = 3600  # seconds; half a minute on two idle cores. A rank that fails ends the other at once


def start_two(entry, folder, limit):
    """Run `entry(rank, folder)` in two processes. Raises what a child raised, or TimeoutError after `limit` seconds."""
    started = multiprocessing.spawn(entry, (str(folder),), nprocs=two_ranks.WORLD, join=False)
    end = time.monotonic() + limit
    try:
        while not started.join(timeout=1):
            if time.monotonic() > end:
                raise TimeoutError(f"two ranks were not done in {limit} s")
    finally:
        for process in started.processes:
            if process.is_alive():
                process.kill()
            process.join()


@pytest.fixture(scope="session")
def ranks(tmp_path_factory):
    """Results of rank 0 and of rank 1, by case."""
    if importlib.util.find_spec("deepspeed") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("DeepSpeed is missing, and in CI tensor parallelism is to be shown: pip install 'porter[tp]'")
        pytest.skip("needs DeepSpeed: pip install 'porter[tp]'")
    folder = of_the_whole_run(tmp_path_factory) / "ranks"
    with FileLock(f"{folder}.lock"):  # every worker would start two processes more, and none would be done in time
        if not folder.exists():
            folder.mkdir()
            experts.make_ports(folder / "ports")
            start_two(two_ranks.run, folder, LIMIT)
    files = [folder / f"rank{rank}.pt" for rank in range(two_ranks.WORLD)]
    assert all(file.exists() for file in files), "the two ranks were started by another worker, and failed there"
    return [torch.load(file) for file in files]


def of_the_whole_run(tmp_path_factory):
    """A folder that the workers of pytest-xdist share, if there are any."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    """Answers of one process, by model, and the truth of their logits in fp64."""
    found = {}
    for name, sizes in (("grouped", tiny.GROUPED), ("plain", tiny.PLAIN)):
        model = tiny.port(**sizes)
        truth = tiny.truth(model, tmp_path_factory.mktemp("alone"))
        found[name] = {**tiny.answers(model), "choices": tiny.choices(model), "truth": truth, "config": model.config}
    return found

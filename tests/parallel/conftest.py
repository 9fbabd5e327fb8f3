"""Two processes, once for all cases; no port for the rendezvous, bounded in time, children ended by their own pid."""

import importlib.util
import os
import time

import pytest
import torch
from torch import multiprocessing

from tests.parallel import tiny, two_ranks

LIMIT = 240  # seconds; half a minute on two idle cores


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
    folder = tmp_path_factory.mktemp("ranks")
    start_two(two_ranks.run, folder, LIMIT)
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(two_ranks.WORLD)]


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    """Answers of one process, by model, and the truth of their logits in fp64."""
    found = {}
    for name, sizes in (("grouped", tiny.GROUPED), ("plain", tiny.PLAIN)):
        model = tiny.port(**sizes)
        truth = tiny.truth(model, tmp_path_factory.mktemp("alone"))
        found[name] = {**tiny.answers(model), "choices": tiny.choices(model), "truth": truth, "config": model.config}
    return found

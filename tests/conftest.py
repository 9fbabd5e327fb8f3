"""One thread a process, where the environment does not say another number; `python tests/machines.py` says two as well.

The tensors are tiny: a second thread waits more than it computes, and takes the core of another worker of the suite.
"""

import os
from collections.abc import Iterator

import pytest

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # read when torch is imported, here and in processes started here
    os.environ.setdefault(_name, "1")


@pytest.fixture
def two_threads() -> Iterator[int]:
    """For what gives threads back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)

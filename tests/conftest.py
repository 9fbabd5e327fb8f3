"""One thread a process, where the environment does not say another number; `python tests/machines.py` says two as well.

The tensors are tiny: a second thread waits more than it computes, and takes the core of another worker of the suite.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # read when torch is imported, here and in processes started here
    os.environ.setdefault(_name, "1")


@pytest.fixture(scope="session", autouse=True)
def rules_are_read_once() -> Iterator[None]:
    """In this process the rules that come with porter; no others are kept, which would have these forgotten."""
    from porter.rulebook import load
    from porter.shipped import shipped

    own, read, write, held = load.name_of_kept(shipped("rules")), load.kept, load.keep, []

    def kept(name: str) -> Any:
        if name == own and not held:
            held.append(read(name))
        return held[0] if name == own else read(name)

    def keep(name: str, rules: Any) -> None:
        if name == own:
            write(name, rules)
            held[:] = [rules]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(load, "kept", kept)
        patched.setattr(load, "keep", keep)
        yield


@pytest.fixture
def rules_of_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what reads and keeps rules: as porter does."""
    from porter.rulebook import load
    from porter.rulebook.kept import keep, kept

    monkeypatch.setattr(load, "kept", kept)
    monkeypatch.setattr(load, "keep", keep)


@pytest.fixture
def two_threads() -> Iterator[int]:
    """For what gives threads back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)

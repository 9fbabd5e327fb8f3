"""Pieces of work in processes of their own: what each says arrives, whatever the others do."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from functools import partial

import pytest

from porter.matrix.processes import Ended, Limits, Said, run_each
from tests.matrix.conftest import is_running

LIMITS = Limits(seconds=1800, memory=8)


def says(*words):
    return lambda say: [say(word) for word in words]


def raises(say):
    say("before")
    raise ZeroDivisionError("of mine")


def dies(say):
    print("last words", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def eats(say):
    bytearray(4 << 30)


def starts(note, then, say):
    child = subprocess.Popen(["sleep", "9999"])
    note.write_text(str(child.pid))
    say("started")
    then()
    child.wait()


def run(tmp_path, *work, jobs=2, limits=LIMITS):
    return list(run_each(work, [tmp_path / f"{index}" for index in range(len(work))], jobs=jobs, limits=limits))


def test_what_is_said_comes_in_order_and_each_ends_once(tmp_path):
    told = run(tmp_path, says(1, 2), says("a"), says(), jobs=2)
    for index, words in enumerate([[1, 2], ["a"], []]):
        mine = [one for one in told if one.index == index]
        assert mine == [*(Said(index, word) for word in words), Ended(index)]


def test_one_that_raises_or_dies_says_so_and_the_others_go_on(tmp_path):
    told = run(tmp_path, raises, dies, says("fine"), jobs=1)
    assert told == [
        Said(0, "before"),
        Ended(0, "the process died with code 1: ZeroDivisionError: of mine"),
        Ended(1, "the process died by SIGKILL: last words"),
        Said(2, "fine"),
        Ended(2),
    ]


def test_one_that_hangs_is_ended(tmp_path, hang):
    told = run(tmp_path, lambda say: (say("before"), hang()), says("fine"), jobs=1)
    assert told == [Said(0, "before"), Ended(0, "no answer in 1800 s"), Said(1, "fine"), Ended(1)]


def test_one_that_eats_memory_is_stopped_by_its_limit(tmp_path):
    (told,) = run(tmp_path, eats, limits=Limits(seconds=1800, memory=2))
    assert isinstance(told, Ended) and told.fault is not None and "MemoryError" in told.fault
    (told,) = run(tmp_path, partial(lambda size, say: bytearray(size), 1 << 20), limits=Limits(seconds=1800, memory=2))
    assert told == Ended(0)


@pytest.mark.parametrize("late", [True, False], ids=["a time limit", "who asked stops listening"])
def test_what_a_process_started_ends_with_it(tmp_path, late, hang):
    note = tmp_path / "pid"
    work = partial(starts, note, hang if late else lambda: None)
    told = run_each([work], [tmp_path / "log"], jobs=1, limits=LIMITS)
    assert next(told) == Said(0, "started")
    assert is_running(int(note.read_text()))
    if late:
        assert next(told) == Ended(0, "no answer in 1800 s")
    told.close()
    for _ in range(6000):
        if not is_running(int(note.read_text())):
            return
        time.sleep(0.1)
    pytest.fail("it runs on")

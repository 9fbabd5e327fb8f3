"""Pieces of work in processes of their own: what each says arrives, whatever the others do."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from functools import partial

import pytest

from porter.matrix.processes import Ended, Limits, Said, run_each

LIMITS = Limits(seconds=60, memory=8)


def says(*words):
    return lambda say: [say(word) for word in words]


def raises(say):
    say("before")
    raise ZeroDivisionError("of mine")


def dies(say):
    print("last words", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(say):
    say("before")
    time.sleep(999)


def eats(say):
    bytearray(4 << 30)


def starts(note, say):
    child = subprocess.Popen(["sleep", "999"])
    note.write_text(str(child.pid))
    say("started")
    child.wait()


def run(tmp_path, *work, jobs=2, limits=LIMITS):
    return list(run_each(work, [tmp_path / f"{index}" for index in range(len(work))], jobs=jobs, limits=limits))


def is_running(pid):
    """A process that has ended and waits for its parent counts as ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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


def test_one_that_hangs_is_ended(tmp_path):
    told = run(tmp_path, hangs, says("fine"), limits=Limits(seconds=2, memory=8))
    assert [one for one in told if one.index == 0] == [Said(0, "before"), Ended(0, "no answer in 2 s")]
    assert Ended(1) in told


def test_one_that_eats_memory_is_stopped_by_its_limit(tmp_path):
    (told,) = run(tmp_path, eats, limits=Limits(seconds=60, memory=2))
    assert isinstance(told, Ended) and told.fault is not None and "MemoryError" in told.fault
    (told,) = run(tmp_path, partial(lambda size, say: bytearray(size), 1 << 20), limits=Limits(seconds=60, memory=2))
    assert told == Ended(0)


@pytest.mark.parametrize("late", [True, False], ids=["a time limit", "who asked stops listening"])
def test_what_a_process_started_ends_with_it(tmp_path, late):
    note = tmp_path / "pid"
    told = run_each([partial(starts, note)], [tmp_path / "log"], jobs=1, limits=Limits(2 if late else 60, 8))
    assert next(told) == Said(0, "started")
    assert is_running(int(note.read_text()))
    if late:
        assert next(told) == Ended(0, "no answer in 2 s")
    told.close()
    for _ in range(100):
        if not is_running(int(note.read_text())):
            return
        time.sleep(0.1)
    pytest.fail("it runs on")

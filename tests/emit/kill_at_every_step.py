"""Run by test_write in a process of its own: kills a forked writer at each of its steps, and looks at what it left."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import sys
from pathlib import Path

from porter.emit import check, emit, swap

STEPS = ("rename", "replace", "fsync", "mkdir", "rmdir", "unlink")


def kill_at(number: int) -> None:
    taken = 0

    def counted(real):
        def step(*arguments, **options):
            nonlocal taken
            taken += 1
            if taken == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return step

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    swap.exchange = counted(swap.exchange)


def main() -> None:
    ported, other, out, exchanging = pickle.load(sys.stdin.buffer)
    if not exchanging:
        swap.exchange = lambda one, other: False

    def state() -> str:
        return "old" if check(ported, out) == [] else "new" if check(other, out) == [] else "neither"

    pristine = Path(f"{out.parent}.pristine")
    shutil.copytree(out.parent, pristine)
    killed, settled, left_over = [], [], []
    for number in range(1, 200):
        child = os.fork()
        if child == 0:
            kill_at(number)
            emit(other, out, force=True)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        killed.append(state())
        with swap.alone_in(out.parent):
            settled.append(state())
            left_over += [path.name for path in out.parent.glob(".porter*")]
        shutil.rmtree(out.parent)
        shutil.copytree(pristine, out.parent)
        if not os.WIFSIGNALED(status):
            break
    print(json.dumps({"killed": killed, "settled": settled, "left_over": left_over}))


main()

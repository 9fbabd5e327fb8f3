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
from porter.emit.account import read_account
from porter.emit.registry import heal
from porter.runtime.registry import injection_policy, registered

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

    def state(registry: bool = True) -> str:
        """Which port the folder holds, and with it the registry."""
        for name, port in (("old", ported), ("new", other)):
            differing = [difference.file for difference in check(port, out)]
            if not differing or (not registry and differing == ["../__init__.py"]):
                return name
        return "neither"

    def read() -> bool:
        """Whether who reads next finds one port there, whole, and a registry that says the same."""
        names = registered(out.parent)
        told = read_account(out)["split_points"]["row_parallel"]
        file = (out.parent / "__init__.py").read_text()
        agree = names == (out.name,) and list(injection_policy(out.name, out.parent)[2]) == told
        return agree and repr(told[0]).replace("'", '"') in file and state() != "neither"

    pristine = Path(f"{out.parent}.pristine")
    shutil.copytree(out.parent, pristine)
    killed, settled, left_over, readable = [], [], [], []
    for number in range(1, 200):
        child = os.fork()
        if child == 0:
            kill_at(number)
            emit(other, out, force=True)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        killed.append(state(registry=False))
        after_kill = Path(f"{out.parent}.killed")
        shutil.copytree(out.parent, after_kill)
        readable.append(read() and not list(out.parent.glob(".porter*")))
        shutil.rmtree(out.parent)
        after_kill.rename(out.parent)
        heal(out.parent)
        settled.append(state())
        left_over += [path.name for path in out.parent.glob(".porter*")]
        shutil.rmtree(out.parent)
        shutil.copytree(pristine, out.parent)
        if not os.WIFSIGNALED(status):
            break
    print(json.dumps({"killed": killed, "settled": settled, "left_over": left_over, "readable": readable}))


main()

"""Files on disk, all or none: a folder changes from old to new in one step, or not at all.

The new folder is written and flushed beside the old one, then the two change places. Where the system cannot exchange
two names at once, there is a moment with the old folder moved aside and the new one not yet in place: `settle`, which
every later run calls first, moves it back.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

_NEW, _TABLE, _OLD = ".porter-new-", ".porter-table-", ".porter-old-"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """One porter at a time writes into `folder`; what an interrupted one left is put right."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        settle(folder)
        yield
    finally:
        os.close(descriptor)


def settle(folder: Path) -> None:
    """Put right what a killed run left in `folder`: a folder moved aside goes back, the unfinished go away."""
    for aside in folder.glob(f"{_OLD}*"):
        place = folder / aside.name.removeprefix(_OLD)
        if not place.exists():
            os.rename(aside, place)
    for prefix in (_OLD, _NEW, _TABLE):
        for left in folder.glob(f"{prefix}*"):
            remove(left)


def is_unsettled(folder: Path) -> bool:
    """Whether a run is writing into `folder`, or one that was killed has left something there."""
    return any(name.startswith((_OLD, _NEW, _TABLE)) for name in os.listdir(folder))


def replace_file(path: Path, data: bytes) -> None:
    """Make `path` hold these bytes, in one step. To be called inside `alone_in(path.parent)`."""
    new = path.with_name(_TABLE + path.name)
    try:
        _write(new, data)
        os.replace(new, path)
    finally:
        remove(new)


def replace_folder(place: Path, files: dict[str, bytes], table: tuple[Path, bytes] | None) -> None:
    """Make `place` hold just these files, and the file `table` its bytes: both or neither. An OSError changes nothing.

    To be called inside `alone_in(place.parent)`.
    """
    new = place.with_name(_NEW + place.name)
    table_new = place.with_name(_TABLE + place.name)
    try:
        new.mkdir()
        for name, data in files.items():
            _write(new / name, data)
        _flush_folder(new)
        if table is not None:
            _write(table_new, table[1])
        undo = _put(new, place)
        try:
            if table is not None:
                os.replace(table_new, table[0])
        except BaseException:
            undo()
            raise
        with contextlib.suppress(OSError):  # the change is made; flushing the folder only hastens it
            _flush_folder(place.parent)
    finally:
        remove(new)
        remove(table_new)
        if place.exists():  # else the folder moved aside is the only one there is
            remove(place.with_name(_OLD + place.name))


def remove(path: Path) -> None:
    """Away with a file or folder of ours; what cannot be removed now, a later run removes."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _write(path: Path, data: bytes) -> None:
    try:
        with open(path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk says only that it is full
        raise


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put(new: Path, place: Path) -> Callable[[], object]:
    """Put the folder `new` at `place`; what was there is at `new` or moved aside. Gives back what undoes it."""
    if not place.exists():
        os.rename(new, place)
        return lambda: os.rename(place, new)
    if exchange(new, place):
        return lambda: exchange(new, place)
    aside = place.with_name(_OLD + place.name)
    os.rename(place, aside)
    try:
        os.rename(new, place)
    except BaseException:
        os.rename(aside, place)
        raise

    def undo() -> None:
        os.rename(place, new)
        os.rename(aside, place)

    return undo


def exchange(one: Path, other: Path) -> bool:
    """Let two names change places in one step; False where the system has no such step."""
    import ctypes  # only replacing a folder needs it

    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))

"""A file of model code -> one class of it, or one message why not: whatever the file is, and whatever it raises."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from porter.diagnostics import Diagnostic
from porter.release import OtherRelease


class CannotLoad(ValueError):
    """A port does not load; `diagnostic` is the message as a value."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic
        help = (diagnostic.help,) if diagnostic.help else ()
        super().__init__("; ".join((diagnostic.message, *diagnostic.notes, *help)))


def class_of(package: str, module: str, class_name: str, file: Path) -> Any:
    """The class of `package.module`, which lies at `file`. Raises CannotLoad (P142): no file, no Python, no class.

    OtherRelease where it was made from another release of the source than is installed.
    """
    again = "convert it again"
    if not os.path.isfile(file):
        raise CannotLoad(Diagnostic("P142", f"the model file `{file}` is not there", help=again))
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for results: what code says on import is talk
            loaded = importlib.import_module(f"{package}.{module}")
    except OtherRelease:  # says more
        raise
    except (Exception, SystemExit) as error:  # it may raise anything
        first = next(iter(str(error).strip().splitlines()), "")
        help = "install what it imports" if isinstance(error, ImportError) else again
        message = f"the model file `{file}` does not load"
        raise CannotLoad(Diagnostic("P142", message, notes=(f"{type(error).__name__}: {first}",), help=help)) from error
    found = getattr(loaded, class_name, None)
    if not isinstance(found, type):
        del sys.modules[loaded.__name__]  # once mended it is read again
        raise CannotLoad(Diagnostic("P142", f"the model file `{file}` has no class `{class_name}`", help=again))
    return found

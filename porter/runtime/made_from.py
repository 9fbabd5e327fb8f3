"""What a port was made from, as its model file says it, and whether that is what is installed.

Contract: asked when the model file is imported and whenever a model is built, wherever the file lies and whoever
imports it. Reads the source's file, never imports or parses it. A source that is no longer there says nothing: the port
holds its own copy of the code. A port of code that is none of transformers' own says apart which release of that it
was made under.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from porter.diagnostics import Refused
from porter.release import OtherRelease, made_under_another, require_known_release
from porter.source.installed import locate_module

_LIBRARY = "transformers"


@dataclass(frozen=True)
class PortedFrom:
    """The module of an installed package that a port was made from: `version` of the package, `sha256` of the file."""

    module: str
    version: str | None
    sha256: str

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    @property
    def release(self) -> str:
        """`transformers 5.23.0`."""
        return " ".join(filter(None, (self.package, self.version)))

    def differs(self) -> Path | None:
        """The installed file of that module, where its text is another one."""
        located = locate_module(self.module)
        if isinstance(located, Refused):
            return None
        file, status = located[0], located[0].stat()
        return None if _sha256(file, status.st_mtime_ns, status.st_size) == self.sha256 else file


def check_installed(port: str, ported_from: PortedFrom | None, made_under: str | None = None) -> None:
    """Raises OtherRelease where `port`, the name of its class, is not to be trusted under what is installed.

    `ported_from` is None of a port that was made from a file of its own. `made_under`: the transformers it was made
    under, where `ported_from` is none of its modules.
    """
    require_known_release(port if ported_from is None else f"{port}, ported from {ported_from.release},")
    of_library = ported_from is not None and ported_from.package == _LIBRARY
    fault = made_under_another(port, ported_from.version if ported_from is not None and of_library else made_under)
    if fault is not None:
        raise OtherRelease(fault)
    file = ported_from.differs() if ported_from is not None else None
    if ported_from is not None and file is not None:
        raise OtherRelease(
            f"`{file}` is not the text that {port} was ported from ({ported_from.release}): it may compute something "
            f"else; convert `{ported_from.module}` again, or install {ported_from.release}"
        )


@lru_cache(maxsize=64)
def _sha256(file: Path, changed_ns: int, size: int) -> str:
    """Of a file as it was at that time: every model that is built asks."""
    return hashlib.sha256(file.read_bytes()).hexdigest()

"""What a port was made from, as its model file says it, and whether that is what is installed.

Contract: asked when the model file is imported and whenever a model is built, wherever the file lies and whoever
imports it. Reads the source's file, never imports or parses it. A source that is no longer there says nothing: the port
holds its own copy of the code.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from porter.diagnostics import Refused
from porter.release import OtherRelease, require_tested_release
from porter.source.installed import locate_module


@dataclass(frozen=True)
class PortedFrom:
    """The module of an installed package that a port was made from: `version` of the package, `sha256` of the file."""

    module: str
    version: str | None
    sha256: str

    @property
    def release(self) -> str:
        """`transformers 5.23.0`."""
        return " ".join(filter(None, (self.module.partition(".")[0], self.version)))

    def differs(self) -> Path | None:
        """The installed file of that module, where its text is another one."""
        located = locate_module(self.module)
        if isinstance(located, Refused):
            return None
        file, status = located[0], located[0].stat()
        return None if _sha256(file, status.st_mtime_ns, status.st_size) == self.sha256 else file


def check_installed(port: str, ported_from: PortedFrom | None) -> None:
    """Raises OtherRelease where `port`, the name of its class, is not to be trusted under what is installed.

    None: it was made from a file of its own, which says nothing of a release.
    """
    require_tested_release(port if ported_from is None else f"{port}, ported from {ported_from.release},")
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

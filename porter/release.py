"""Which transformers is installed, and whether porter's part of a port was tested with it.

Contract: a port is the source's text and porter's runtime, and both lean on the insides of one release of transformers:
masks, caches, loading, generation. Under another one it may fail anywhere, or answer differently without a word. So
`porter.runtime`, which no port can do without, asks here before it imports anything of transformers. Needs neither.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys

from porter import __version__

TESTED = "5.23"  # as `dependencies` in pyproject.toml has it


class OtherRelease(ImportError):
    """The installed transformers is not what this port, or porter, was made for; the text says what to do."""


def installed_transformers() -> tuple[str, ...]:
    """The versions of the transformers that is imported, and of the one whose metadata stands in the environment.

    They are one where all is well. Empty where there is none.
    """
    found = [getattr(sys.modules.get("transformers"), "__version__", None)]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found.append(importlib.metadata.version("transformers"))
    return tuple(dict.fromkeys(version for version in found if isinstance(version, str)))


def other_release(port: str = "a port") -> str | None:
    """What is wrong with the installed release, as one sentence, and what to do; None where nothing is."""
    installed = installed_transformers()
    others = [version for version in installed if version != TESTED and not version.startswith(f"{TESTED}.")]
    if installed and not others:
        return None
    there = f"transformers {others[0]} is installed" if installed else "no transformers is installed"
    return (
        f"{there}, and porter {__version__} was tested with {TESTED} only: under another release {port} may answer "
        f"differently, so it is not loaded; install `transformers=={TESTED}.*`, or a porter that was tested with that "
        "release, and convert again"
    )


def require_tested_release(port: str = "a port") -> None:
    """Raises OtherRelease where porter was not tested with the installed transformers."""
    fault = other_release(port)
    if fault is not None:
        raise OtherRelease(fault)

"""The releases that porter works with, as `dependencies` in pyproject.toml has them, and whether they are installed."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from porter import __version__

PYTHON = ">=3.10"
TRANSFORMERS = ">=5.14,<5.25"
WINDOWS = {"torch": ">=2.10,<2.15", "transformers": TRANSFORMERS, "deepspeed": "==0.19.8", "peft": ">=0.21,<0.22"}


class OtherRelease(ImportError):
    """The installed transformers is not what this port, or porter, was made for; the text says what to do."""


def release_of(version: str) -> str:
    """The release that a version belongs to: `5.23` of `5.23.1`; what came before or beside a release is its own."""
    try:
        read = Version(version)
    except InvalidVersion:
        return version
    return version if read.is_prerelease else ".".join(map(str, (*read.release, 0)[:2]))


def installed_transformers() -> tuple[str, ...]:
    """The versions of the transformers that is imported, and of the one whose metadata stands in the environment.

    They are one where all is well. Empty where there is none.
    """
    found = [getattr(sys.modules.get("transformers"), "__version__", None)]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found.append(importlib.metadata.version("transformers"))
    return tuple(dict.fromkeys(version for version in found if isinstance(version, str)))


def is_within(version: str, window: str) -> bool:
    """Whether a version is one of a window's releases; what comes before a release (`.dev0`, `rc1`) is none."""
    try:
        return SpecifierSet(window).contains(Version(version).public, prereleases=False)
    except InvalidVersion:
        return False


def other_release(port: str = "a port") -> str | None:
    """What is wrong with the installed release, as one sentence, and what to do; None where nothing is."""
    installed = installed_transformers()
    others = [version for version in installed if not is_within(version, TRANSFORMERS)]
    if installed and not others:
        return None
    there = f"transformers {others[0]} is installed" if installed else "no transformers is installed"
    return (
        f"{there}, and porter {__version__} works with {TRANSFORMERS} only: under another release {port} may answer "
        f"differently, so it is not loaded; install `transformers{TRANSFORMERS}`, or a porter that works with that "
        "release, and convert again"
    )


def require_known_release(port: str = "a port") -> None:
    """Raises OtherRelease where porter does not work with the installed transformers."""
    fault = other_release(port)
    if fault is not None:
        raise OtherRelease(fault)


def made_under_another(port: str, release: str | None) -> str | None:
    """What is wrong where `port` was made under a version of transformers that is of another release than is installed.

    None where nothing is, or where it was made without one.
    """
    others = [] if release is None else [v for v in installed_transformers() if release_of(v) != release_of(release)]
    if release is None or not others:
        return None
    return (
        f"{port} was made under transformers {release}, and transformers {others[0]} is installed: it may "
        f"answer differently there, so it is not loaded; convert it again, or install "
        f"`transformers=={release_of(release)}.*`"
    )

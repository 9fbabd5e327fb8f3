"""What stands in this environment, by metadata and folders: nothing is imported, and nothing is asked of a device."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("torch", "torch_npu", "transformers", "deepspeed", "peft")
_CANN_VARIABLES = ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH")  # set by CANN's own set_env.sh
_CANN_FOLDER = Path("/usr/local/Ascend/ascend-toolkit/latest")
_CANN_VERSIONS = ("*-linux/ascend_toolkit_install.info", "compiler/version.info", "runtime/version.info", "version.cfg")
UNKNOWN = "of a version that it does not say"


@dataclass(frozen=True)
class Stack:
    """Versions by name: of Python, of packages, of CANN. What is not there has none.

    `cann_is_set`: the environment variables of CANN are there, as its set_env.sh leaves them.
    """

    versions: dict[str, str]
    cann_is_set: bool = False


def installed_stack() -> Stack:
    """The one that this process runs in."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    named = next((Path(os.environ[name]) for name in _CANN_VARIABLES if os.environ.get(name)), None)
    folder = named or _CANN_FOLDER
    if folder.is_dir():
        found["CANN"] = _cann_version(folder)
    return Stack(found, named is not None)


def _cann_version(folder: Path) -> str:
    """What a toolkit's folder says of itself: a line `version=...` of one of its files."""
    for pattern in _CANN_VERSIONS:
        for file in sorted(folder.glob(pattern)):
            try:
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError:
                continue
            said = (line.partition("=") for line in lines)
            found = next((value.strip() for key, _, value in said if key.strip().lower() == "version"), "")
            if found:
                return found.strip("[]\"'")
    return UNKNOWN

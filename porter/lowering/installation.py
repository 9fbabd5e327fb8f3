"""A torch_npu wheel for the installed torch: the environment's own where it has one, else a private copy.

Contract: the private copy lies in porter's cache folder and is installed once, whole or not at all, also when several
processes ask at the same time. The running environment is never changed: with torch_npu in it but no CANN, plain
`import torch` fails.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.metadata
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from porter.diagnostics import Diagnostic, Refused
from porter.shipped import cache_folder

Progress = Callable[[str, int, int], None]  # what, done, of how many
MACHINES = ("x86_64", "aarch64")
# What TorchAir imports while it converts; the rest of what it lists serves CANN's own compiler.
_REQUIREMENTS = {
    "protobuf": "protobuf>=4,<8",
    "numpy": "numpy",
    "sympy": "sympy",
    "packaging": "packaging",
    "pyyaml": "pyyaml",
}


@dataclass(frozen=True)
class Installation:
    """torch_npu and what it needs. `folders` belong at the end of sys.path in the process that imports it."""

    package: Path
    version: str
    digest: str  # of all files, as the wheel lists them
    folders: tuple[Path, ...]


def find_or_install(progress: Progress, cache: Path | None = None) -> Installation | Refused:
    """Refused on an unsupported platform (P111), without pip or a registry (P113), without a wheel (P114)."""
    fault = _unsupported_platform()
    if fault is not None:
        return fault
    own = importlib.machinery.PathFinder.find_spec("torch_npu")
    if own is not None and own.submodule_search_locations:
        package = Path(next(iter(own.submodule_search_locations)))
        return _described(package, ())
    version = importlib.metadata.version("torch").partition("+")[0]
    root = (cache or cache_folder()) / f"torch_npu-{version}-{sys.implementation.cache_tag}-{platform.machine()}"
    root.mkdir(parents=True, exist_ok=True)
    from filelock import FileLock

    with FileLock(root / "lock"):
        folders = (root / "wheel", root / "needs")
        fault = _install(folders[0], [f"torch_npu=={version}"], f"installing torch_npu {version} for porter", progress)
        lacking = [spec for name, spec in _REQUIREMENTS.items() if not _present(name, folders)]
        if fault is None and lacking:
            fault = _install(folders[1], lacking, f"installing {', '.join(lacking)} for porter", progress)
    return fault or _described(folders[0] / "torch_npu", folders)


def _unsupported_platform() -> Refused | None:
    here = f"{platform.system()} on {platform.machine()}"
    if platform.system() == "Linux" and platform.machine() in MACHINES:
        return None
    message = f"torch_npu has no wheel for {here}"
    return Refused((Diagnostic("P111", message, help=f"lower on Linux, on {' or '.join(MACHINES)}"),))


def _described(package: Path, folders: tuple[Path, ...]) -> Installation:
    found = next(iter(importlib.metadata.distributions(name="torch_npu", path=[str(package.parent)])))
    listed = found.read_text("RECORD") or found.version
    return Installation(package, found.version, hashlib.sha256(listed.encode()).hexdigest(), folders)


def _present(name: str, folders: Sequence[Path]) -> bool:
    places = [*sys.path, *map(str, folders)]
    return any(True for _ in importlib.metadata.distributions(name=name, path=places))


def _install(target: Path, requirements: list[str], what: str, progress: Progress) -> Refused | None:
    """pip into a folder beside `target`, then one rename; what is there already stays."""
    if target.name == "wheel" and target.is_dir():
        return None
    progress(what, 0, 1)
    for left in target.parent.glob("partial-*"):  # of a process that was killed; the lock is ours
        shutil.rmtree(left, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix="partial-", dir=target.parent))
    if target.is_dir():
        shutil.copytree(target, staging, dirs_exist_ok=True)
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-input", "--only-binary", ":all:"]
    words += ["--retries", "2", "--disable-pip-version-check", "--target", str(staging), *requirements]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        shutil.rmtree(staging, ignore_errors=True)
        return _failed(requirements, done.stderr)
    shutil.rmtree(target, ignore_errors=True)
    staging.rename(target)
    return None


def _failed(requirements: list[str], said: str) -> Refused:
    """P114 where the registry answered and has other versions, P113 for all else."""
    wanted = ", ".join(requirements)
    errors = [line for line in said.splitlines() if line.startswith("ERROR:") or "No module named" in line]
    reached = any("from versions:" in line and "from versions: none" not in line for line in errors)
    if reached:
        message = f"there is no {wanted} for this Python"
        help = "porter lowers with the torch_npu of the installed torch's version: install a torch that has one"
        return Refused((Diagnostic("P114", message, help=help),))
    message = f"pip could not install {wanted} into porter's cache folder"
    notes = (errors[-1].removeprefix("ERROR: "),) if errors else ()
    help = "lowering needs a package registry once; later runs use the copy"
    return Refused((Diagnostic("P113", message, notes=notes, help=help),))

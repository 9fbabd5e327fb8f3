"""Libraries in place of CANN's: every function that torch_npu wants from CANN, each returning 0.

Contract: built once with the machine's C compiler and kept beside the wheel, by the wheel's digest. They satisfy the
loader and nothing else: what they would do is never asked for. Where CANN is installed they are not used.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from porter.diagnostics import Diagnostic, Refused
from porter.lowering.installation import Installation
from porter.shipped import cache_folder

# As torch_npu's libraries name what they need. The first one carries all symbols: the loader looks in every library.
LIBRARIES = (
    "ascendcl",
    "hccl",
    "acl_op_compiler",
    "ge_runner",
    "graph",
    "acl_tdt_channel",
    "fmk_parser",
    "ascend_protobuf",
    "atb",
)
_OF_THE_SYSTEM = ("@GLIBC", "@CXXABI", "@GCC", "@GLIBCXX")
_OF_THE_RUNTIME = ("_Py", "Py", "_ITM", "__gmon", "__tls", "__cxa", "_ZTH")
_STUB = '#define STUB(name) __attribute__((weak, visibility("default"))) long name(void) { return 0; }\n'


def cann_is_installed() -> bool:
    """Whether the loader of a new process finds CANN: an installation counts once its environment is set."""
    words = [sys.executable, "-c", "import ctypes; ctypes.CDLL('libascendcl.so')"]
    return subprocess.run(words, capture_output=True).returncode == 0


def find_or_build(wheel: Installation, cache: Path | None = None) -> tuple[Path, ...] | Refused:
    """The libraries, in the order to load them. Refused without a C compiler and binutils (P112)."""
    missing = [tool for tool in ("cc", "nm") if shutil.which(tool) is None]
    mark = f"{wheel.digest[:16]}-torch-{importlib.metadata.version('torch')}"
    folder = (cache or cache_folder()) / f"stand-ins-{mark}"
    libraries = tuple(folder / f"lib{name}.so" for name in LIBRARIES)
    if folder.is_dir():
        return libraries
    if missing:
        message = f"no `{'`, `'.join(missing)}` here to build stand-ins for the CANN libraries with"
        help = "install a C compiler and binutils (gcc), or CANN itself; it is needed once"
        return Refused((Diagnostic("P112", message, help=help),))
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        if folder.is_dir():
            return libraries
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            built = Path(name) / "built"
            built.mkdir()
            fault = _build(_wanted(wheel.package), built)
            if fault is not None:
                return fault
            built.rename(folder)
    return libraries


def _wanted(package: Path) -> list[str]:
    """Names of the functions that neither torch_npu nor torch nor the system defines."""
    wheel = [*package.glob("_C*.so"), *package.glob("lib/*.so"), *package.glob("dynamo/torchair/core/*.so")]
    found = importlib.util.find_spec("torch")  # a top-level package: looked up, not imported
    assert found is not None and found.origin is not None
    torch = [*(Path(found.origin).parent / "lib").glob("lib*.so")]
    defined = _symbols([*wheel, *torch], "--defined-only")
    undefined = {name for name in _symbols(wheel, "--undefined-only") if not any(v in name for v in _OF_THE_SYSTEM)}
    names = {name.partition("@")[0] for name in undefined} - {name.partition("@")[0] for name in defined}
    return sorted(name for name in names if name.isidentifier() and not name.startswith(_OF_THE_RUNTIME))


def _symbols(libraries: Iterable[Path], which: str) -> set[str]:
    words = ["nm", "-D", which, *map(str, libraries)]
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in out.splitlines() if line and not line.endswith(":")}


def _build(symbols: list[str], folder: Path) -> Refused | None:
    source, empty = folder / "cann.c", folder / "empty.c"
    source.write_text(_STUB + "".join(f"STUB({name})\n" for name in symbols), encoding="utf-8")
    empty.write_text("", encoding="utf-8")
    for index, name in enumerate(LIBRARIES):
        library = f"lib{name}.so"
        words = ["cc", "-w", "-shared", "-fPIC", "-fno-builtin", f"-Wl,-soname,{library}", "-o", str(folder / library)]
        done = subprocess.run([*words, str(empty if index else source)], capture_output=True, text=True)
        if done.returncode != 0:
            first = next(iter(done.stderr.splitlines()), "it said nothing")
            message = "the C compiler could not build stand-ins for the CANN libraries"
            return Refused((Diagnostic("P112", message, notes=(first,), help="see that `cc` can link a library"),))
    return None

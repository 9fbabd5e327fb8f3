"""A stack -> what is known of each of its parts, and what to do.

Contract: a part is `tested` where porter's own record says so, `untested` where porter takes it and nobody ran it,
`absent` where it is not there and need not be, and `wrong` where porter, or torch_npu, refuses to work with it.
Whatever it says, no kernel was run on an NPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from porter.release.stack import Stack
from porter.release.tested import Tried
from porter.release.window import PYTHON, WINDOWS, is_within, release_of

TESTED, UNTESTED, ABSENT, WRONG = "tested", "untested", "absent", "wrong"
_NEEDED_FOR = {
    "deepspeed": "needed for tensor parallelism alone: `pip install 'porter[tp]'`",
    "peft": "needed for adapters alone: `pip install 'porter[adapters]'`",
}
_PROVE = "run `porter verify` on your ports here before you trust them"


@dataclass(frozen=True)
class Part:
    """One part of a stack: its version, None where it is not there; what is known, and what to do, in words."""

    name: str
    version: str | None
    state: str
    note: str


def examine(stack: Stack, tested: Sequence[Tried]) -> tuple[Part, ...]:
    """Every part, in the order in which they build on each other."""
    return tuple(_parts(stack, tested))


def _parts(stack: Stack, tested: Sequence[Tried]) -> Iterator[Part]:
    at = stack.versions
    yield _python(at["python"], tested)
    yield _package("torch", at, tested, "transformers")
    yield _torch_npu(at)
    yield _cann(stack)
    yield _package("transformers", at, tested, "torch")
    for name, why in _NEEDED_FOR.items():
        yield _optional(name, at.get(name), why)


def _python(version: str, tested: Sequence[Tried]) -> Part:
    if not is_within(version, PYTHON):
        return Part("python", version, WRONG, f"porter needs Python {PYTHON}")
    if any(row.is_of("python", version) for row in tested):
        return Part("python", version, TESTED, "")
    known = sorted({release_of(row.python) for row in tested}, key=_numbers)
    return Part("python", version, UNTESTED, f"tested with {', '.join(known) or 'none'}: {_PROVE}")


def _package(name: str, at: dict[str, str], tested: Sequence[Tried], beside: str) -> Part:
    """torch or transformers: both must be of porter's window, and a record is of the two together."""
    version, window = at.get(name), WINDOWS[name]
    if version is None:
        return Part(name, None, WRONG, f"porter runs nothing without it: `pip install '{name}{window}'`")
    if not is_within(version, window):
        return Part(name, version, WRONG, f"porter works with {window}: install one of these, and convert again")
    rows = [row for row in tested if row.is_of(name, version) and row.good]
    both = [row for row in rows if beside in at and row.is_of(beside, at[beside])]
    if both:
        row = both[-1]
        return Part(name, version, TESTED, f"{row.whole} of {len(row.ports)} ports whole, {row.passed} checks passed")
    others = sorted({release_of(str(getattr(row, beside))) for row in rows}, key=_numbers)
    known = f"tested with {beside} {', '.join(others)}, not with yours" if others else "not tested"
    return Part(name, version, UNTESTED, f"{known}: {_PROVE}")


def _torch_npu(at: dict[str, str]) -> Part:
    version, torch = at.get("torch_npu"), at.get("torch", "").partition("+")[0]
    if version is None:
        note = f"`porter lower` fetches {torch} into a folder of its own" if torch else "it goes with a torch"
        return Part("torch_npu", None, ABSENT, note)
    # its wheels count fixes of their own behind the version of the torch that they were built for
    if not torch or ".".join(version.split(".")[:3]).partition("+")[0] != torch:
        wanted = ".".join(version.split(".")[:3])
        note = f"it was built for torch {wanted}, and {torch or 'none'} is installed: install `torch=={wanted}`"
        return Part("torch_npu", version, WRONG, note)
    return Part("torch_npu", version, UNTESTED, "kernel: not run")


def _cann(stack: Stack) -> Part:
    version = stack.versions.get("CANN")
    if version is None:
        if "torch_npu" in stack.versions:
            note = "torch_npu does not load without it, nor `import torch` but for TORCH_DEVICE_BACKEND_AUTOLOAD=0"
            return Part("CANN", None, WRONG, note)
        return Part("CANN", None, ABSENT, "`porter lower` works without it")
    if not stack.cann_is_set:
        return Part("CANN", version, WRONG, "its environment is not set: source its set_env.sh")
    return Part("CANN", version, UNTESTED, "kernel: not run")


def _optional(name: str, version: str | None, why: str) -> Part:
    if version is None:
        return Part(name, None, ABSENT, why)
    if is_within(version, WINDOWS[name]):
        return Part(name, version, TESTED, "")
    return Part(name, version, UNTESTED, f"porter was tested with {WINDOWS[name]}: {_PROVE}")


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".") if part.isdigit())

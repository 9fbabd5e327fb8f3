"""Ops that did not come with porter, as `OPS` of a file holds them: registered when a port that brings one is loaded.

Contract: the same `Op`s and the same call as those of porter's own files. In one process an op is what the first file
of it said: another text for it is an error, and so is a schema that an installed library has otherwise. Nothing is
registered on the import of porter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from porter.npu.registry import Op, implemented, put

_files: dict[str, tuple[str, str]] = {}  # op -> the sha256 of the file that brought it, and the file
_KEYS = {"cpu": "CPU", "cuda": "CUDA", "npu": "PrivateUse1"}
_COMPOSITE = ("CompositeExplicitAutograd", "CompositeImplicitAutograd")


class MissingOp(ImportError):
    """A port needs an op that is not there."""


class OtherOp(ImportError):
    """An op is there already, and is another one."""


def register_ops(module: ModuleType) -> None:
    """Register the ops of a file, once. Raises OtherOp where one of that name is there and is another."""
    file = str(module.__file__)
    _register(module.OPS, hashlib.sha256(Path(file).read_bytes()).hexdigest(), file)


def register_text(text: str, name: str) -> None:
    """The same for the text of a file: of a rule that is to be proved. It is run unless its ops are there already."""
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    if sha256 not in {known for known, _ in _files.values()}:
        module = ModuleType(name)
        exec(compile(text, f"{name}.py", "exec"), module.__dict__)
        _register(module.OPS, sha256, f"{name}.py")


def _register(ops: Iterable[Op], sha256: str, file: str) -> None:
    for op in ops:
        name = f"{op.namespace}::{op.name}"
        known, where = _files.get(name, (None, ""))
        if known == sha256:
            continue
        if known is not None or (op.namespace == "npu" and op.name in implemented()):
            by = f"`{where}`" if where else "porter"
            raise OtherOp(f"`{name}` of `{file}` is here already, from {by}, with other code: one of them in a process")
        _check_schema(name, op, file)
        _offer(op, put(op))
        _files[name] = (sha256, file)


def require_ops(*names: str) -> None:
    """Raises MissingOp for an op, `acme::gate`, that no library brings here."""
    for name in names:
        namespace, _, op = name.partition("::")
        if not hasattr(getattr(torch.ops, namespace), op):
            raise MissingOp(
                f"this port needs the op `{name}`, which is not there: import the library that brings it, or give it a "
                "kernel in `ops/` beside the rule and convert again"
            )


def without_kernel(names: Iterable[str], device: str) -> tuple[str, ...]:
    """Of some ops, `acme::gate`, those without a kernel for a kind of device: cpu, cuda or npu; others are not judged.

    One that is made of other ops (a composite kernel) runs wherever those do. What a device does with an op that it
    lacks, the fallback to the CPU of torch_npu, is no kernel.
    """
    key = _KEYS.get(device)
    return tuple(name for name in names if key is not None and not _has_kernel(name, key))


def _has_kernel(name: str, key: str) -> bool:
    """Whether an overload of an op has one; an op that is not there has none."""
    namespace, _, op = name.partition("::")
    packet = getattr(getattr(torch.ops, namespace), op, None)
    overloads = packet.overloads() if packet is not None else ()
    full = [name if each == "default" else f"{name}.{each}" for each in overloads]
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return any(has(each, one) for each in full for one in (key, *_COMPOSITE))


def _check_schema(name: str, op: Op, file: str) -> None:
    """What an installed library has under that name must be the same op."""
    namespace = getattr(torch.ops, op.namespace)
    if not hasattr(namespace, op.name):
        return
    there, wanted = getattr(namespace, op.name).default._schema, torch._C.parse_schema(_qualified(op))
    if str(there) != str(wanted):
        raise OtherOp(f"`{file}` says `{wanted}`, and the library that is installed has `{there}`")


def _qualified(op: Op) -> str:
    return f"{op.namespace}::{op.schema.strip().removeprefix(f'{op.namespace}::')}"


def _offer(op: Op, call: Callable[..., Any]) -> None:
    """An op of torch_npu is called through that name, also where porter stands in for it."""
    from porter.npu import torch_npu

    if op.namespace == "npu":
        setattr(torch_npu, op.name, call)

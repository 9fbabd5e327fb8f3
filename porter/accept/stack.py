"""What is there: the device, its chip and driver, CANN, torch_npu, torch, transformers; and what of it porter knows.

Contract: `look` touches the device and is asked in a process of its own; everything else is metadata. torch_npu is
imported only where an NPU is asked for, and before `porter.npu`, which adds its kernels to the wheel's schemas.
"""

from __future__ import annotations

import importlib
import platform
from pathlib import Path
from typing import Any

from porter.diagnostics import Refused, refused
from porter.release import release_of
from porter.release.doctor import examine
from porter.release.stack import installed_stack
from porter.release.tested import tested_stacks

KINDS = ("npu", "cuda", "cpu")
SCHEMAS_OF = "2.13.0"  # the torch_npu whose schemas porter's ops have
LIMITS_OF = "Atlas A2 and A3 (Ascend910B, Ascend910_93), by the public op documentation; none of it seen on a device"
_DRIVER = Path("/usr/local/Ascend/driver/version.info")
_ELSEWHERE = "`--device cpu` rehearses the run on this machine, with porter's own kernels in the place of the device's"


def load_device_package(kind: str) -> Refused | None:
    """Import torch_npu where the device wants it. P170 where it is not there or does not load."""
    if kind != "npu":
        return None
    try:
        importlib.import_module("torch_npu")
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return refused("P170", "there is no NPU here: torch_npu does not load", _ELSEWHERE, reason)
    return None


def look(kind: str) -> dict[str, Any]:
    """The devices of a kind: `count`, `name`, `memory` in bytes. In a process of its own: it wakes the device."""
    import torch

    if kind == "cpu":
        return {"count": 1, "name": platform.processor() or platform.machine(), "memory": None}
    module = getattr(torch, kind, None)
    if module is None or not module.is_available() or not module.device_count():
        return {"count": 0, "name": "", "memory": None}
    memory = getattr(module.get_device_properties(0), "total_memory", None)
    return {"count": module.device_count(), "name": module.get_device_name(0), "memory": memory}


def no_device(kind: str) -> Refused:
    return refused("P170", f"there is no device of the kind `{kind}` here", _ELSEWHERE)


def chip_of(name: str) -> str:
    """The chip whose limits and roundings the host's kernels take for a device of that name."""
    from porter.npu.chip import A2, A3, ASCEND_310P, ASCEND_950

    known = {"Ascend910_93": A3, "Ascend910B": A2, "Ascend310P": ASCEND_310P, "Ascend950": ASCEND_950}
    return next((chip for prefix, chip in known.items() if name.startswith(prefix)), A2)


def versions(kind: str) -> dict[str, str]:
    """Everything that the kernels and the port's model run on; what is not there is left out."""
    found = dict(installed_stack().versions)
    if kind == "npu" and _DRIVER.is_file():
        lines = _DRIVER.read_text(encoding="utf-8", errors="replace").splitlines()
        said = (line.partition("=") for line in lines)
        found["driver"] = next((value.strip() for key, _, value in said if key.strip().lower() == "version"), "unknown")
    if kind == "cuda":
        import torch

        found["CUDA"] = str(torch.version.cuda)
    return {name: version for name, version in found.items() if name not in ("deepspeed", "peft")}


def known_parts() -> list[dict[str, Any]]:
    """What porter's own record says of each part, as `porter doctor` has it, and what the ops were written against."""
    parts = [
        {"part": part.name, "version": part.version, "state": part.state, "note": part.note}
        for part in examine(installed_stack(), tested_stacks())
    ]
    against = {"part": "porter's ops", "version": SCHEMAS_OF, "state": "written against", "note": _against()}
    return [*parts, against]


def _against() -> str:
    installed = installed_stack().versions.get("torch_npu")
    other = installed is not None and release_of(installed) != release_of(SCHEMAS_OF)
    here = f" (here is {installed})" if other else ""
    return f"schemas of torch_npu {SCHEMAS_OF}{here}; limits of {LIMITS_OF}"

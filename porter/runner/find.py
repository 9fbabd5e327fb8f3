"""The class of a registered port, as far as it may be executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from porter.diagnostics import Refused
from porter.emit.account import read_account
from porter.emit.edited import edited_files, was_edited
from porter.emit.model_file import CannotLoad
from porter.npu.own import without_kernel
from porter.release import OtherRelease
from porter.runner.refusal import CannotRun
from porter.runtime.registry import UnknownModel, folder_of, load_model_class


def find_class(name: str, models: Path | None, *, edited: bool = False, trust_remote_code: bool = False) -> Any:
    """CannotRun: no such port (P080), changed by hand and not wanted so (P135), of another transformers (P134).

    Also one that is damaged (P072, P142), and code out of a folder that nobody consented to run (P141).
    """
    try:
        folder = folder_of(name, models)
        changed = () if edited else edited_files(folder)
        if changed:
            said = was_edited(folder, changed, "`--edited`, in Python the setting `edited=True`,")
            raise CannotRun(said.code, said.message, said.help, *said.notes)
        return load_model_class(name, models, trust_remote_code=trust_remote_code)
    except UnknownModel as error:
        raise CannotRun("P080", str(error), "convert the model first, or name another") from None
    except CannotLoad as error:
        said = error.diagnostic
        raise CannotRun(said.code, said.message, said.help, *said.notes) from error
    except OtherRelease as error:
        raise CannotRun("P134", str(error)) from None


def check_ops(name: str, models: Path | None, device: str) -> None:
    """CannotRun (P038) where ops that a port brings or asks for have no kernel for a kind of device. It is loaded."""
    account = read_account(folder_of(name, models))
    if isinstance(account, Refused):
        return
    brought = without_kernel([op for file in account.get("ops", ()) for op in file["ops"]], device)
    asked = without_kernel(account.get("ops_needed", ()), device)
    if brought or asked:
        lacking = ", ".join(f"`{op}`" for op in (*brought, *asked))
        help = "import the library that brings them, at the top of their file in `ops/`, and convert again"
        if not brought:
            help = f"run it where the library that brings them has kernels for {device}, or on another device"
        raise CannotRun("P038", f"`{name}` needs {lacking}, without a kernel for {device} here", help)

"""Which file of a checkpoint folder holds the model, as its `config.json` says in `auto_map`.

Only names that stay inside the folder count: a checkpoint is somebody else's data.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from porter.diagnostics import Diagnostic, Refused, Span

# A port is a causal language model; the others are for checkpoints that name nothing better.
_PREFERRED = ("AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoModel")


def modeling_file_named_by_config(folder: Path) -> Path | Refused | None:
    """The folder's modeling file by `auto_map`, or None where `config.json` does not say."""
    config = folder / "config.json"
    if not config.is_file():
        return None
    read = _read_json(config)
    if isinstance(read, Refused):
        return read
    auto_map = read.get("auto_map")
    reference = _reference(auto_map) if isinstance(auto_map, dict) else None
    if reference is None:
        return _advice_for_library_models(folder, read)
    repository, _, local = reference.rpartition("--")
    module = local.rpartition(".")[0]
    path = folder / (module.replace(".", "/") + ".py")
    if module and all(part.isidentifier() for part in module.split(".")) and os.path.isfile(path):
        return path
    notes = (f"{config.name} says `{reference}` in auto_map",)
    help = f"download the code of `{repository}` into the folder" if repository else "download the missing file"
    return Refused((Diagnostic("P002", f"`{folder}` lacks the modeling file it names", notes=notes, help=help),))


def entry_named_by_config(file: Path) -> str | None:
    """The class of a modeling file that the `config.json` beside it names as the causal language model."""
    config = file.with_name("config.json")
    read = _read_json(config) if config.is_file() else {}
    auto_map = {} if isinstance(read, Refused) else read.get("auto_map")
    reference = auto_map.get("AutoModelForCausalLM") if isinstance(auto_map, dict) else None
    module, _, name = reference.rpartition("--")[2].rpartition(".") if isinstance(reference, str) else ("", "", "")
    return name if module == file.stem and name.isidentifier() else None


def _reference(auto_map: dict[str, Any]) -> str | None:
    for key in _PREFERRED:
        if isinstance(auto_map.get(key), str):
            return auto_map[key]
    return None


def _advice_for_library_models(folder: Path, config: dict[str, Any]) -> Refused | None:
    """A checkpoint without code of its own runs on the library's: say which module that is."""
    model_type = config.get("model_type")
    if any(folder.glob("modeling_*.py")) or not isinstance(model_type, str) or not model_type.isidentifier():
        return None
    message = f"`{folder}` has no modeling file: its code is the library's"
    help = f"convert `transformers.models.{model_type}`"
    return Refused((Diagnostic("P002", message, notes=(f"config.json: model_type `{model_type}`",), help=help),))


def _read_json(path: Path) -> dict[str, Any] | Refused:
    message = f"`{path}` is not a JSON object"
    try:
        read = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        span = Span(str(path), error.lineno, error.colno - 1, error.lineno, error.colno)
        return Refused((Diagnostic("P008", message, span, error.msg, help="name the modeling file itself"),))
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        return Refused((Diagnostic("P008", message, notes=(str(error),), help="name the modeling file itself"),))
    if not isinstance(read, dict):
        return Refused((Diagnostic("P008", message, help="name the modeling file itself"),))
    return read

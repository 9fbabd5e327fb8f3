"""Is this folder a checkpoint that the port can run: found out from small files, before any weight is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from porter.runner.refusal import CannotRun

_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
)
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def check_checkpoint(folder: Path, model_class: Any) -> None:
    """Raises CannotRun for what is missing (P081, P082, P084) or made for another model (P083)."""
    if not folder.is_dir():
        raise CannotRun("P081", f"no checkpoint folder `{folder}`", "give the folder of a checkpoint, as downloaded")
    _check_architecture(folder, model_class)
    _check_weights(folder)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        help = "copy the tokenizer's files into the checkpoint's folder, e.g. tokenizer.json and tokenizer_config.json"
        raise CannotRun("P082", f"`{folder}` has no tokenizer", help, f"looked for {', '.join(_TOKENIZERS)}")


def _check_architecture(folder: Path, model_class: Any) -> None:
    config = _read(folder / "config.json")
    wanted, found = model_class.config_class.model_type, config.get("model_type")
    names = config.get("architectures") or [model_class.__name__]
    if found != wanted or model_class.__name__ not in names:
        message = f"`{folder}` is a checkpoint of {', '.join(names)} ({found})"
        note = f"the port is {model_class.__name__} ({wanted})"
        raise CannotRun("P083", message, "run the port of that model, or give a checkpoint of this one", note)


def _check_weights(folder: Path) -> None:
    for name in _WEIGHTS:
        index = folder / f"{name}.index.json"
        if index.is_file():
            shards = sorted(set(_read(index).get("weight_map", {}).values()))
            missing = [shard for shard in shards if not (folder / shard).is_file()]
            if missing:
                listed = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
                message = f"`{folder}` lacks {len(missing)} of {len(shards)} shards: {listed}"
                raise CannotRun("P084", message, "download the missing files", f"listed in {index.name}")
            return
        if (folder / name).is_file():
            return
    message = f"`{folder}` has no weights"
    raise CannotRun("P084", message, "download the checkpoint's weights", f"looked for {', '.join(_WEIGHTS)}")


def _read(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CannotRun("P081", f"`{path}` cannot be read: {error}", "download the checkpoint again") from None
    if not isinstance(read, dict):
        raise CannotRun("P081", f"`{path}` is not a JSON object", "download the checkpoint again")
    return read

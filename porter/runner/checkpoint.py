"""Is this folder a checkpoint that the port can run: by small files and headers, before a weight is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.conversion_mapping import get_model_conversion_mapping

from porter.runner.configuration import AGAIN, build_without_memory, check_dtype, read_configuration
from porter.runner.refusal import CannotRun
from porter.runtime.headers import DamagedFile, check_content
from porter.runtime.quantized import QuantizedCheckpoint, check_dtypes, check_folder
from porter.runtime.stored import IncompleteWeights, check_amount, check_stored
from porter.runtime.weight_files import NAMES, MissingShards, find_weights
from porter.runtime.weights import merge_converters

_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
)
_SHOWN = 6


def check_checkpoint(folder: Path, model_class: Any, dtype: torch.dtype | None = None) -> Any:
    """The checkpoint's configuration, as the port's. `dtype`: what it is to run in, None for the checkpoint's own.

    Raises CannotRun for what is missing (P081, P082, P084), made for another model (P083), quantized (P130), cut off or
    not downloaded (P132), or a configuration that makes no model of this port (P133).
    """
    if not folder.is_dir():
        raise CannotRun("P081", f"no checkpoint folder `{folder}`", "give the folder of a checkpoint, as downloaded")
    written = _read(folder / "config.json")
    _check_architecture(folder, written, model_class)
    with refusing():
        check_folder(folder)
        named = written.get("transformers_weights")
        weights = find_weights(folder, named)
        if weights is None:
            message = f"`{folder}` has no weights"
            raise CannotRun(
                "P084", message, "download the checkpoint's weights", f"looked for {named or ', '.join(NAMES)}"
            )
        stored = weights.stored()
        check_dtypes({name: entry.dtype for name, entry in stored.items()}, f"`{folder}`")
        config = read_configuration(folder, model_class)
        check_dtype(dtype or getattr(config, "dtype", None))
        described = all(file.suffix == ".safetensors" for file in weights.files)
        model = build_without_memory(folder, model_class, config, tensors=len(stored) if described else None)
        filled = check_stored(model, stored, [*get_model_conversion_mapping(model), *merge_converters(model)])
        if described:
            check_amount(model, stored, filled)
        _check_small_files(folder)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        help = "copy the tokenizer's files into the checkpoint's folder, e.g. tokenizer.json and tokenizer_config.json"
        raise CannotRun("P082", f"`{folder}` has no tokenizer", help, f"looked for {', '.join(_TOKENIZERS)}")
    return config


@contextmanager
def refusing() -> Iterator[None]:
    """What the runtime says of a checkpoint, as CannotRun: P130 quantized, P131 not the port's weights, P084 without
    shards, P132 not whole."""
    try:
        yield
    except IncompleteWeights as error:
        raise other_weights({"missing": error.missing, "of another shape": error.other}) from None
    except QuantizedCheckpoint as error:
        raise CannotRun("P130", error.fault, error.help, "a port takes floating-point weights only") from None
    except DamagedFile as error:
        code = "P084" if isinstance(error, MissingShards) else "P132"
        raise CannotRun(code, error.fault, error.help) from None


def other_weights(kinds: dict[str, list[str]]) -> CannotRun:
    """P131 for names of tensors by what is wrong with them: `missing`, `unexpected`, `of another shape`."""
    counted = ", ".join(f"{len(names)} {kind}" for kind, names in kinds.items() if names)
    notes = [f"{kind}: {_listed(names)}" for kind, names in kinds.items() if names]
    message = f"the checkpoint's weights are not those of the port: {counted}"
    return CannotRun("P131", message, "download the checkpoint again, or give the one this port is for", *notes)


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _check_architecture(folder: Path, config: dict[str, Any], model_class: Any) -> None:
    wanted, found = model_class.config_class.model_type, config.get("model_type")
    names = config.get("architectures") or [model_class.__name__]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CannotRun("P083", f"`{folder / 'config.json'}` names no architectures: {names!r}"[:300], AGAIN)
    if found != wanted or model_class.__name__ not in names:
        message = f"`{folder}` is a checkpoint of {', '.join(names)} ({found})"
        note = f"the port is {model_class.__name__} ({wanted})"
        raise CannotRun("P083", message, "run the port of that model, or give a checkpoint of this one", note)


def _check_small_files(folder: Path) -> None:
    """What transformers would pass over, or blame on somebody else."""
    for name in _TOKENIZERS:
        if (folder / name).is_file():
            check_content(folder / name)
    if (folder / "generation_config.json").is_file():
        _read(folder / "generation_config.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        check_content(path)
        read = json.loads(path.read_bytes())
    except DamagedFile as error:
        raise CannotRun("P081", error.fault, error.help) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CannotRun("P081", f"`{path}` cannot be read: {error}", AGAIN) from None
    if not isinstance(read, dict):
        raise CannotRun("P081", f"`{path}` is not a JSON object", AGAIN)
    return read

"""What a checkpoint stores against what a port has places for, by transformers' own naming, before weights are cast.

Contract: called while a port loads, wherever the checkpoint comes from: a folder, a hub's cache, a state dict. Of
`.safetensors` the headers are read, `.bin` files are loaded as transformers loads them, by torch without pickled code.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.modeling_utils import load_state_dict

from porter.runtime.headers import DamagedFile, Stored, check_content, read_header
from porter.runtime.quantized import QuantizedCheckpoint, check_config, check_dtypes, check_folder, check_tensors
from porter.runtime.weight_files import find_weights
from porter.runtime.weights import MergeRows, merges_of

_ON_LOADING = ("quantization_config", "load_in_8bit", "load_in_4bit", "gguf_file")
_OF_THE_HUB = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
_DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def refuse_quantized(checkpoint: Any, arguments: Mapping[str, Any]) -> None:
    """Raises QuantizedCheckpoint for what `from_pretrained` is asked, before it asks for a quantizer's packages."""
    for name in _ON_LOADING:
        if arguments.get(name):
            raise QuantizedCheckpoint(str(arguments[name]).partition("{")[0].strip() or name, f"the argument {name}")
    config = arguments.get("config")
    if isinstance(config, PreTrainedConfig):
        check_config(config.to_dict(), "the configuration given")
    if checkpoint is None:
        return
    folder = Path(checkpoint) / (arguments.get("subfolder") or "")
    if folder.is_dir():
        check_folder(folder)
        weights = None if arguments.get("variant") else find_weights(folder)
        if weights is not None and arguments.get("use_safetensors") is not False:
            # transformers takes the first tensor's dtype for the model's, and fails over that without naming a scheme
            check_dtypes({name: entry.dtype for name, entry in weights.stored().items()}, f"`{folder}`")
    elif config is None and not Path(checkpoint).exists():
        hub = {name: arguments[name] for name in _OF_THE_HUB if arguments.get(name) is not None}
        check_config(PreTrainedConfig.get_config_dict(checkpoint, **hub)[0], f"the configuration of `{checkpoint}`")


class IncompleteWeights(RuntimeError):
    """Some parts of a merged projection are not stored, or do not fit together; `missing` and `other` name them."""

    def __init__(self, missing: list[str], other: list[str]) -> None:
        self.missing, self.other = missing, other
        said = [f"it lacks {', '.join(missing)}"] if missing else []
        said += [f"{name}" for name in other]
        super().__init__(f"the checkpoint cannot fill the port's merged projections: {'; '.join(said)}")


def unpickled(files: list[str], load_config: Any) -> dict[str, Any]:
    """The tensors of `.bin` files, as transformers reads them. Raises DamagedFile for a file that holds none."""
    tensors: dict[str, Any] = {}
    for file in files:
        check_content(Path(file))
        try:
            read = load_state_dict(file, weights_only=load_config.weights_only, disable_mmap=load_config.disable_mmap)
        except Exception as error:  # torch and pickle raise anything for bytes that are none of theirs
            first = (str(error).strip().splitlines() or [""])[0]
            raise DamagedFile(Path(file), f"does not load as weights alone: {type(error).__name__}: {first}") from error
        if not isinstance(read, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in read.values()):
            raise DamagedFile(
                Path(file), "holds more than tensors by name", "give a checkpoint as transformers saves it"
            )
        tensors.update(read)
    return tensors


def stored_in(state_dict: Mapping[str, Any] | None, files: Iterable[str] | None) -> dict[str, Stored]:
    """Names, dtypes and shapes of what is to be loaded. Raises DamagedFile for a file that is not whole."""
    if state_dict is not None:
        return {name: _described(tensor) for name, tensor in state_dict.items()}
    safe = [Path(file) for file in files or () if str(file).endswith(".safetensors")]
    return {name: stored for file in safe for name, stored in read_header(file).items()}


def check_stored(model: Any, stored: Mapping[str, Stored], mapping: Iterable[Any] | None) -> set[str]:
    """Raises QuantizedCheckpoint where `model` holds floating point and the checkpoint something else, or scales, and
    IncompleteWeights for merged projections of which a part is missing. `mapping`: transformers' steps and the merges.
    Gives the places of `model` that something is stored for.
    """
    steps = copy.deepcopy(list(mapping or ()))  # renaming marks what was used
    renamings = [step for step in steps if isinstance(step, WeightRenaming)]
    converters = [step for step in steps if isinstance(step, WeightConverter)]
    places = model.state_dict()
    floats, known, filled = [], [], set()
    parts: dict[str, dict[str, str]] = {}  # of a merged projection: pattern of a part -> its name
    for name in stored:
        place, pattern = rename_source_key(name, renamings, converters, model.base_model_prefix, places)
        if place not in places and name in places:
            place, pattern = name, None
        if place in places:
            known.append(name)
            filled.add(place)
            if places[place].is_floating_point():
                floats.append(name)
            if pattern is not None:
                parts.setdefault(place, {})[pattern] = name
    check_tensors({name: entry.dtype for name, entry in stored.items()}, floats, known, "its weights")
    merges = {step.target_patterns[0]: step for step in converters if _is_merge(step)}
    _check_parts(parts, merges, {name: tuple(tensor.shape) for name, tensor in places.items()}, stored)
    return filled


def check_given(model: Any, state_dict: Mapping[str, Any]) -> None:
    """Raises QuantizedCheckpoint for a state dict of other numbers than the floating point of `model`, or of scales."""
    places = model.state_dict()
    parts = set(model.lost_parts(state_dict))
    known = [name for name in state_dict if name in places or name in parts]
    floats = [name for name in known if name in parts or _is_float(places[name])]
    dtypes = {name: _described(tensor).dtype for name, tensor in state_dict.items() if hasattr(tensor, "dtype")}
    check_tensors(dtypes, [name for name in floats if name in dtypes], known, "the state dict")


def _is_float(tensor: Any) -> bool:
    return isinstance(tensor, torch.Tensor) and tensor.is_floating_point()


def _is_merge(step: WeightConverter) -> bool:
    return any(isinstance(operation, MergeRows) for operation in step.operations)


def _check_parts(
    parts: Any, merges: Mapping[str, Any], places: Mapping[str, Any], stored: Mapping[str, Stored]
) -> None:
    """Raises IncompleteWeights for projections of which parts are missing or have rows of another length."""
    missing, other = [], []
    for place, found in parts.items():
        merge = next((merge for tail, merge in merges.items() if place.endswith(tail)), None)
        if merge is None or not found.keys() <= set(merge.source_patterns):
            continue
        pattern, name = next(iter(found.items()))
        missing += [name.replace(pattern, lost) for lost in merge.source_patterns if lost not in found]
        wanted = places[place][1:]
        other += [
            f"{name} {stored[name].shape}, not (..., {', '.join(map(str, wanted))})"
            for name in found.values()
            if stored[name].shape[1:] != wanted
        ]
    if missing or other:
        raise IncompleteWeights(sorted(missing), sorted(other))


def check_amount(model: Any, stored: Mapping[str, Stored], filled: Set[str]) -> None:
    """Raises IncompleteWeights where the checkpoint has less than half of what `model` holds. `filled`: its places for
    what is stored.

    Whatever is missing or of another shape would be drawn: where sizes are wrong, more than a host can hold.
    """
    parameters = {id(tensor): tensor.numel() for tensor in model.parameters()}  # tied ones count once
    held, wanted = sum(math.prod(entry.shape) for entry in stored.values()), sum(parameters.values())
    if wanted > 2 * held:
        missing = original_names(model, model.state_dict().keys() - filled - model.all_tied_weights_keys.keys())
        raise IncompleteWeights(missing, [] if missing else [f"{held} elements, not {wanted}"])


def original_names(model: Any, names: Iterable[str]) -> list[str]:
    """Names of the port's tensors as a checkpoint has them: a merged one is its parts."""
    parts = {merge.name: merge.parts for merge in merges_of(model)}
    found = []
    for name in names:
        owner, _, kind = name.rpartition(".")
        path, _, leaf = owner.rpartition(".")
        found += [f"{path}.{part}.{kind}" for part in parts[leaf]] if leaf in parts else [name]
    return sorted(found)


def check_converted(found: Any) -> None:
    """Raises RuntimeError where weights could not be made the port's: transformers only tabulates that."""
    for place, fault in getattr(found, "conversion_errors", {}).items():
        lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith("ValueError: ")), lines[0] if lines else "")
        raise RuntimeError(f"the checkpoint does not load into `{place}`: {said.removeprefix('ValueError: ')}")


def _described(tensor: Any) -> Stored:
    if hasattr(tensor, "get_dtype"):  # a slice of a safetensors file that is not read yet
        return Stored(tensor.get_dtype(), tuple(tensor.get_shape()))
    name = str(tensor.dtype).removeprefix("torch.")
    return Stored(_DTYPES.get(name, name), tuple(tensor.shape))

"""An adapter for a run: tried on the model's shapes before weights are read, then merged into the weights, by PEFT.

Contract: what runs is the port with other weights, the same graph. An adapter that PEFT cannot merge, that does not fit
the checkpoint, or whose merged weights would compute something else than the adapter does, is CannotRun before weights
are read. PEFT is imported only here, and only for an adapter.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from porter.runner.refusal import CannotRun
from porter.runtime import put_together

_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def check_adapter(adapter: str | Path | None, model_class: Any, checkpoint: Path) -> None:
    """Put the adapter on a model without weights, and merge it: whatever cannot work raises CannotRun. None is none.

    P094 where PEFT is not installed or `folder` holds no adapter, P095 for one that does not fit, P096 for one that
    cannot be merged exactly.
    """
    if adapter is None:
        return
    folder = Path(adapter)
    _check_folder(folder)
    with torch.device("meta"):
        model = model_class(model_class.config_class.from_pretrained(checkpoint))
    before = _weights(model)
    tuned, lacking = _put_on(model, folder, low_cpu_mem_usage=True)
    missing = _without_shared(tuned, lacking)
    if missing:
        message = f"the adapter in `{folder}` does not fill what its configuration puts on this model"
        note = f"{len(missing)} tensors are missing, e.g. {missing[0]}"
        raise CannotRun("P095", message, "give an adapter that was made for this model, whole", note)
    if _weights(_merge(tuned, folder)) != before:
        raise _not_mergeable(folder, "it changes the layers of the model, not only their weights")


def merge_adapter(model: Any, adapter: str | Path | None) -> Any:
    """`model` with the adapter in its weights, in their dtype; None is none. CannotRun as `check_adapter` raises it."""
    if adapter is None:
        return model
    folder = Path(adapter)
    tuned, _ = _put_on(model, folder)
    return _merge(tuned, folder, safe_merge=True)


def _check_folder(folder: Path) -> None:
    for names in (("adapter_config.json",), _WEIGHTS):
        if not any((folder / name).is_file() for name in names):
            message = f"`{folder}` is no adapter: it has no {' or '.join(names)}"
            raise CannotRun("P094", message, "give the folder that PEFT's `save_pretrained` wrote")


def _check_entries(folder: Path, config: Any) -> None:
    """Refuse entries that this PEFT does not know, which it would drop; those that ask for nothing are harmless."""
    written = json.loads((folder / "adapter_config.json").read_bytes())
    unknown = sorted(name for name, value in written.items() if value and not hasattr(config, name))
    if unknown:
        message = f"the adapter in `{folder}` asks for what the installed PEFT does not know: {', '.join(unknown)}"
        raise CannotRun("P094", message, "install the PEFT that wrote it, or merge it into the checkpoint with that")


def _put_on(model: Any, folder: Path, **options: Any) -> tuple[Any, list[str]]:
    """PEFT's model around `model`, with the adapter's weights, and the names of those its file lacks."""
    try:
        import peft
        from peft.tuners.tuners_utils import BaseTuner
    except ImportError as error:
        help = "install it: pip install 'porter[adapters]'"
        raise CannotRun("P094", f"an adapter needs PEFT, which cannot be imported: {error}", help) from None
    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
        if config.peft_type is None:
            raise ValueError("its configuration has no `peft_type`")
    except Exception as error:  # whatever is wrong with the file: PEFT raises no narrower one
        message = f"the adapter in `{folder}` cannot be read: {_first_line(error)}"
        raise CannotRun("P094", message, "copy the adapter again") from error
    _check_entries(folder, config)
    kind = getattr(config.peft_type, "value", config.peft_type)
    tuner = peft.mapping.PEFT_TYPE_TO_TUNER_MAPPING.get(config.peft_type)
    if config.is_prompt_learning or not (isinstance(tuner, type) and issubclass(tuner, BaseTuner)):
        raise _not_mergeable(folder, f"{kind} adds to the prompt or to the cache, not to weights")
    config.inference_mode = True
    with _fitting(folder):
        tuned = peft.PeftModel(model, config, **options)
    _check_shared(tuned, folder)
    with _fitting(folder):
        result = tuned.load_adapter(str(folder), "default", torch_device="cpu", **options)
    return tuned.eval(), list(result.missing_keys)


@contextlib.contextmanager
def _fitting(folder: Path) -> Iterator[None]:
    """PEFT without its warnings; whatever torch, PEFT or the port raise is an adapter that does not fit."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        _refuse_untried(folder, error)
        message = f"the adapter in `{folder}` does not fit the checkpoint: {_first_line(error)}"
        raise CannotRun("P095", message, "give an adapter that was made for this model") from error


def _check_shared(tuned: Any, folder: Path) -> None:
    """Refuse an adapter on a weight that another module has too: merged, it would change both."""
    adapted: set[str] = set()
    holders: dict[int, dict[str, None]] = {}
    place = ""
    for path, module in tuned.named_modules():  # parents come before what is in them
        if not (place in adapted and path.startswith(f"{place}.")):
            place = path
            if _is_adapted(module):
                adapted.add(path)
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), {})[place] = None
    for places in holders.values():
        if len(places) > 1 and adapted & places.keys():
            names = " and ".join(path.removeprefix("base_model.model.") for path in places)
            raise _not_mergeable(folder, f"{names} share a weight, and merging into one would change both")


def _without_shared(tuned: nn.Module, missing: list[str]) -> list[str]:
    """Those of the names that no tensor of another name fills: what layers share stands in the file once."""
    held = {name: id(tensor) for name, tensor in tuned.named_parameters(remove_duplicate=False)}
    filled = {tensor for name, tensor in held.items() if name not in set(missing)}
    return [name for name in missing if held.get(name) not in filled]


def _is_adapted(module: nn.Module) -> bool:
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    if isinstance(module, AuxiliaryTrainingWrapper):  # of saved modules, which are other weights, or of trained tokens
        return any(isinstance(inner, BaseTunerLayer) for inner in module.modules())
    return isinstance(module, BaseTunerLayer)


def _merge(tuned: Any, folder: Path, **options: Any) -> nn.Module:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            merged: nn.Module = tuned.merge_and_unload(**options)
    except Exception as error:  # each of PEFT's kinds says in its own way that it cannot be merged
        _refuse_untried(folder, error)
        raise _not_mergeable(folder, _first_line(error)) from error
    put_together(merged)
    return merged


def _refuse_untried(folder: Path, error: Exception) -> None:
    if isinstance(error, NotImplementedError) and "meta" in str(error):  # torch's, for a tensor that holds no numbers
        reason = "its kind cannot be tried on a model whose weights are not read yet"
        message = f"the adapter in `{folder}` cannot be merged into the weights: {reason}"
        raise CannotRun("P096", message, "merge it into the checkpoint with PEFT, and run that") from error


def _weights(model: nn.Module) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in model.named_parameters(remove_duplicate=False)}


def _not_mergeable(folder: Path, reason: str) -> CannotRun:
    message = f"the adapter in `{folder}` cannot be merged into the weights: {reason}"
    return CannotRun("P096", message, "give one that changes weights only, such as LoRA")


def _first_line(error: BaseException) -> str:
    if isinstance(error, KeyError):  # which says the key alone
        return f"unknown {error}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):  # torch: `Error(s) in loading state_dict for X:`, then which
        return f"{lines[0]} {lines[1]}"
    return lines[0] if lines else type(error).__name__

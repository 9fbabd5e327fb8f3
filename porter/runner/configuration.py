"""A checkpoint's configuration, and the model that it makes of a port, without memory for weights."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.initialization import meta_device_safe_creation_ops, no_init_weights

from porter.runner.refusal import CannotRun
from porter.runtime import NpuPreTrainedModel, StaticKVCache
from porter.runtime.arguments import OtherComputation

AGAIN = "download the checkpoint again"
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_SURELY_MADE, _MOST_LAYERS = 200, 10_000


def read_configuration(folder: Path, model_class: Any) -> Any:
    """The checkpoint's configuration. CannotRun (P133) for one that the port's class does not take."""
    try:
        config = model_class.config_class.from_pretrained(folder)
    except Exception as error:  # a configuration's own checks raise what they like
        message = f"`{folder / 'config.json'}` is no configuration of {model_class.config_class.__name__}"
        raise CannotRun("P133", message, "correct the entry it speaks of, or " + AGAIN, told(error)) from error
    if getattr(config, "return_dict", True) is False:
        message = f"`{folder / 'config.json'}` asks for tuples, and transformers generates from named outputs only"
        raise CannotRun("P133", message, "remove `return_dict`")
    return config


def check_dtype(dtype: Any) -> None:
    """CannotRun (P133) for a dtype that a port's ops do not take."""
    if isinstance(dtype, torch.dtype) and dtype not in _FLOATS:
        message = f"a port runs in float16, bfloat16 or float32, not in {str(dtype).removeprefix('torch.')}"
        raise CannotRun("P133", message, "give one of these as dtype; the weights are cast to it")


def build_without_memory(folder: Path, model_class: Any, config: Any, tensors: int | None = None) -> Any:
    """The model as this configuration makes it, on the meta device. CannotRun (P133) where it makes none.

    `tensors`: how many the checkpoint has, if that is known: each layer has one at least, and making takes its time.
    """
    layers = getattr(config.get_text_config(decoder=True), "num_hidden_layers", None)
    most = _MOST_LAYERS if not tensors else max(tensors, _SURELY_MADE)
    if isinstance(layers, int) and layers > most:
        message = f"`{folder / 'config.json'}` asks for {layers} layers, and there are not as many tensors"
        raise CannotRun("P133", message, "correct num_hidden_layers, or " + AGAIN)
    try:
        with torch.device("meta"), meta_device_safe_creation_ops(), no_init_weights():  # as transformers, when it loads
            model = model_class._from_config(config)
            if isinstance(model, NpuPreTrainedModel):
                StaticKVCache(config)  # takes no memory yet, and asks for the kind of each layer
            return model
    except Exception as error:  # model code: a guard of the port, a rope type there is not, sizes that do not divide
        message = f"`{folder / 'config.json'}` makes no model of this port"
        help = "run a port that was made for this configuration"
        raise CannotRun("P133", message, help, told(error), f"raised by {_place(error)}") from error


@contextmanager
def computing(folder: Path) -> Iterator[None]:
    """What the configuration asks for, and the port finds out that it does not compute, is CannotRun (P133)."""
    try:
        yield
    except OtherComputation as error:
        message = f"`{folder / 'config.json'}` asks for what this port does not compute: {error}"
        raise CannotRun("P133", message, "correct the configuration, or run the source model") from error


def told(error: BaseException) -> str:
    """An error as one line: its type and what it says."""
    said = " ".join(line.strip() for line in str(error).strip().splitlines()[:3])
    return f"{type(error).__name__}: {said}"[:300]


def _place(error: BaseException) -> str:
    """The line that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}: {last.line}"

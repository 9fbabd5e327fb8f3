"""Does a real model's configuration satisfy the ops of its port: every limit of the chip, and tensor parallelism.

Contract: shapes only. A rank's share of the model is made without memory and asked for a prefill and a decode step; the
limits are those that `porter.npu` and `porter.parallel` test, so that there is one place for each. Layers of each
kind take part; where tensor parallelism does not divide, the whole model is asked. Nothing is read or computed.
"""

from __future__ import annotations

import copy
import json
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from porter.diagnostics import Diagnostic, Refused
from porter.npu import ContractError, chip
from porter.npu.chip import A2, A3, ASCEND_310P, ASCEND_950
from porter.parallel.divide import NO_SPLIT_POINTS, CannotShard, check_divides
from porter.parallel.share import cut_shapes
from porter.runtime import NpuPreTrainedModel, StaticKVCache
from porter.runtime.cache_name import with_cache
from porter.verify.finding import FAILED, NOT_APPLICABLE, PASSED, Check
from porter.verify.parity import Progress, quiet
from porter.verify.port import Port, open_port

SOC = "Ascend910B3"
BATCH, PROMPT = 2, 2048
# What a driver calls a chip begins with one of these; the longest counts.
_CHIPS = {"Ascend910B": A2, "Ascend910_93": A3, "Ascend310P": ASCEND_310P, "Ascend950": ASCEND_950}
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class _Step:
    name: str
    queries: int
    padded: bool


def shipped_configs() -> dict[str, Path]:
    """Configurations of real models that come with porter, shapes only, by name."""
    return {file.stem: file for file in sorted((Path(__file__).parent / "configs").glob("*.json"))}


def contract(
    directory: Path,
    config_json: Path,
    *,
    soc: str = SOC,
    tp: int = 1,
    progress: Progress | None = None,
    edited: bool = False,
    trust_remote_code: bool = False,
) -> tuple[Check, ...] | Refused:
    """Check the port in `directory` at the sizes of `config_json` on the chip `soc` over `tp` ranks.

    Refused where `open_port` is, the configuration cannot be read or is another model's (P116), or the chip is
    unknown (P117).
    """
    port = open_port(directory, edited=edited, trust_remote_code=trust_remote_code)
    if isinstance(port, Refused):
        return port
    stands_for = next((_CHIPS[name] for name in sorted(_CHIPS, key=len, reverse=True) if soc.startswith(name)), None)
    if stands_for is None:
        help = f"name one that begins with {', '.join(_CHIPS)}"
        return Refused((Diagnostic("P117", f"porter knows no limits of a chip `{soc}`", help=help),))
    model_class = port.load_class()
    read = read_configuration(config_json, model_class.config_class)
    if isinstance(read, Refused):
        return read
    config, _ = read
    tell = progress or (lambda what, done, total: None)
    with quiet(), chip(stands_for):
        tell("tensor parallelism", 0, 2)
        split = port.split_points if tp > 1 else None
        checks = [_divides(model_class, config, tp, split)]
        tell("limits of the ops", 1, 2)
        checks += _limits(port, model_class, config, tp if checks[0].passed else 1, split)
        tell("", 2, 2)
    return tuple(checks)


def read_configuration(config_json: Path, config_class: Any) -> tuple[Any, dict[str, Any]] | Refused:
    """The configuration of a file, and what the file says. P116 where it is none of this class."""
    try:
        data = json.loads(config_json.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError("it holds no JSON object")
        found = data.get("model_type", config_class.model_type)
        if found != config_class.model_type:
            raise ValueError(f"it is of model type {found}, the port of {config_class.model_type}")
        return config_class.from_dict({name: value for name, value in data.items() if name != "model_type"}), data
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = f"`{config_json}` is no configuration for this port"
        help = "give the config.json of a checkpoint"
        return Refused((Diagnostic("P116", message, notes=(str(error),), help=help),))


def _divides(model_class: Any, config: Any, tp: int, split: dict[str, Any] | None) -> Check:
    name, variant = f"divides over {tp} rank{'s' if tp != 1 else ''}", "tensor parallel"
    try:
        check_divides(config, tp)
        if tp > 1 and split is None:
            raise CannotShard(NO_SPLIT_POINTS)
        if tp > 1 and issubclass(model_class, NpuPreTrainedModel):
            try:
                _share(model_class, config, tp, torch.float16, split)
            except CannotShard:
                raise
            except (ValueError, TypeError, KeyError):  # a configuration that the port itself refuses: said below
                pass
    except CannotShard as error:
        return Check(name, variant, FAILED, detail=str(error))
    return Check(name, variant, PASSED)


def _limits(port: Port, model_class: Any, config: Any, tp: int, split: dict[str, Any] | None) -> list[Check]:
    if not issubclass(model_class, NpuPreTrainedModel):
        detail = "the port keeps transformers' own attention: its ops state no limits here"
        return [Check("limits", "ops", NOT_APPLICABLE, detail=detail)]
    longest = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None) or PROMPT
    steps = [
        _Step(f"prefill of {min(PROMPT, longest)} tokens", min(PROMPT, longest), False),
        _Step(f"prefill of {min(PROMPT, longest)} tokens, padded", min(PROMPT, longest), True),
        _Step(f"decode in a cache of {longest} slots", 1, False),
        _Step(f"decode in a cache of {longest} slots, padded", 1, True),
    ]
    checks = []
    for name, dtype in _DTYPES.items():
        try:
            model = _share(model_class, config, tp, dtype, split)
        except Exception as error:  # a configuration that the port itself refuses
            checks.append(Check("takes the configuration", name, FAILED, detail=str(error)))
            continue
        checks += [_ask(port, model, step, longest, name) for step in steps]
    return checks


def _share(model_class: Any, config: Any, tp: int, dtype: torch.dtype, split: dict[str, Any] | None) -> Any:
    """What one rank holds, without memory: its heads and its part of the MLP, in layers of every kind there is."""
    own = copy.deepcopy(config)
    text = own.get_text_config(decoder=True)
    with torch.device("meta"):
        model = model_class._from_config(copy.deepcopy(config), dtype=dtype).eval()
        count = _layers_of_each_kind(model, text)
        if count < text.num_hidden_layers:
            text.num_hidden_layers = count
            if getattr(text, "layer_types", None):
                text.layer_types = list(text.layer_types)[:count]
            model = model_class._from_config(own, dtype=dtype).eval()
    if tp > 1 and split is not None:
        cut_shapes(model, split["layer_class"], split["row_parallel"], tp)
    return model


def _layers_of_each_kind(model: Any, text: Any) -> int:
    """How many of the first layers have one of each kind: by what `layer_types` calls it and by what it holds."""
    total = text.num_hidden_layers
    lists = (module for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module) == total)
    layers = next(lists, None)
    if layers is None:
        return int(total)
    names = list(getattr(text, "layer_types", None) or [None] * total)
    held = [tuple((path, type(module)) for path, module in layer.named_modules()) for layer in layers]
    kinds = list(zip(names, held, strict=False))
    return 1 + max(kinds.index(kind) for kind in set(kinds))


def _ask(port: Port, model: Any, step: _Step, slots: int, dtype: str) -> Check:
    cache = StaticKVCache(model.config, slots)
    ids = torch.empty(BATCH, step.queries, dtype=torch.int64, device="meta")
    inputs = {"input_ids": ids, "position_ids": torch.empty_like(ids)}
    if step.padded:
        inputs["attention_mask"] = torch.empty(BATCH, slots, dtype=torch.int64, device="meta")
    try:
        with torch.no_grad():
            model(**inputs, **with_cache(model, cache), use_cache=True)
    except ContractError as error:
        return Check(step.name, dtype, FAILED, detail=f"{error}\nat {_place(port, error)}")
    except Exception as error:
        detail = f"not checked: {type(error).__name__}: {error}\nat {_place(port, error)}"
        return Check(step.name, dtype, FAILED, detail=detail)
    return Check(step.name, dtype, PASSED)


def _place(port: Port, error: BaseException) -> str:
    """The line of the port that the limit was broken at."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).stem == port.module]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}: {own[-1].line}" if own else "no line of the port"

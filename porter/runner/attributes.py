"""What a runner is told and where it runs, by the names that scripts of the hand ports read and set.

Contract: each name is there before `super().__init__` of a user's runner returns, and setting one either has its effect
on what follows or is an error. Two defaults are porter's own: weights keep the checkpoint's dtype, where the hand ports
cast to float16, and steps are eager, where theirs compile: say `dtype=` and `execute_mode` where it matters.
"""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from porter.diagnostics import nearest
from porter.runner.devices import choose_device, has_npu
from porter.runner.find import find_class
from porter.runner.ranks import Place, join_ranks
from porter.runner.settings import Settings, from_environment

logger = logging.getLogger("porter.runner")

MODES = ("eager", "dynamo")
_NAMES = tuple(item.name for item in fields(Settings))
_LOADED = ("dtype", "device", "models", "adapter")  # settings that a loaded model keeps


class RunnerAttributes:
    """`model_name`, `model_path`, `model_class`, `settings`, `ranks`, `tokenizer`, `model`, and their parts by name.

    is_logging: whether this process reports answers and times: rank 0 does.
    """

    _model_name: str
    _model_path: str | Path
    _model_class: Any

    def __init__(self, model_name: str, model_path: str | Path, config: dict[str, Any]) -> None:
        mode, settings = from_environment()
        self.tokenizer: Any = None
        self.model: Any = None
        self._config: Any = None  # the checkpoint's, once that is checked
        self.model_name = model_name
        self.model_path = model_path
        self._left_alone: set[str] = set()
        self.settings: Settings = settings.updated(**self._known(config))
        self.execute_mode = mode
        self.model_class = self._find_class(model_name, self.settings)
        self.ranks: Place = join_ranks(self.settings.device)
        self.is_logging = self.ranks.rank == 0

    @property
    def model_name(self) -> str:
        """The port's in the registry; another one is another `model_class`, before the model is loaded."""
        return self._model_name

    @model_name.setter
    def model_name(self, model_name: str) -> None:
        wanted = "settings" in vars(self) and self.model is None
        found = self._find_class(model_name, self.settings) if wanted else None
        self._set_before_loading("model_name", model_name)
        if found is not None:
            self.model_class = found

    @property
    def model_path(self) -> str | Path:
        """The checkpoint's folder; another one before the model is loaded."""
        return self._model_path

    @model_path.setter
    def model_path(self, model_path: str | Path) -> None:
        self._set_before_loading("model_path", model_path)

    @property
    def model_class(self) -> Any:
        """What the checkpoint is loaded into; another one before the model is loaded."""
        return self._model_class

    @model_class.setter
    def model_class(self, model_class: Any) -> None:
        self._set_before_loading("model_class", model_class)

    @property
    def execute_mode(self) -> str:
        """`eager`, or `dynamo` for compiled steps."""
        return self._execute_mode

    @execute_mode.setter
    def execute_mode(self, mode: str) -> None:
        if mode not in MODES:
            raise ValueError(f"execute_mode is {' or '.join(MODES)}, not {mode!r}")
        self._execute_mode = mode

    @property
    def dtype(self) -> torch.dtype | None:
        """Of weights and cache; None is the checkpoint's, which is not known before it is loaded."""
        if self.settings.dtype is None and self.model is not None:
            return self.model.dtype
        return self.settings.dtype

    @dtype.setter
    def dtype(self, dtype: torch.dtype | None) -> None:
        self.settings = self._settings_of_call({"dtype": dtype})

    @property
    def input_padding(self) -> bool:
        """Whether every batch is padded to `input_max_len`."""
        return self.settings.input_padding

    @input_padding.setter
    def input_padding(self, input_padding: bool) -> None:
        self.settings = self._settings_of_call({"input_padding": input_padding})

    @property
    def device(self) -> torch.device:
        """The device this process drives. CannotRun (P088) where it is set to one that is not there, ValueError where
        the model is loaded on another."""
        return self.ranks.device

    @device.setter
    def device(self, device: str | torch.device) -> None:
        chosen = choose_device(device)
        held = self.ranks.device
        if self.model is not None and chosen.type == held.type and chosen.index in (None, held.index or 0):
            return
        self.settings = self._settings_of_call({"device": str(device)})
        self.ranks = replace(self.ranks, device=chosen)

    @property
    def local_rank(self) -> int:
        """This process among those of its machine, as the launcher has it."""
        return self.ranks.local_rank

    @local_rank.setter
    def local_rank(self, local_rank: int) -> None:
        _as_launched("local_rank", int(local_rank), self.ranks.local_rank)

    @property
    def world_size(self) -> int:
        """How many processes the launcher started."""
        return self.ranks.world_size

    @world_size.setter
    def world_size(self, world_size: int) -> None:
        _as_launched("world_size", int(world_size), self.ranks.world_size)

    @staticmethod
    def set_npu_config(**kwargs: Any) -> None:
        """`jit_compile` (False): compile operators for their shapes instead of taking the binaries.

        Nothing without an NPU. TypeError for a name there is not.
        """
        jit_compile = kwargs.pop("jit_compile", False)
        if kwargs:
            raise TypeError(f"no NPU setting {next(iter(kwargs))!r}: there is jit_compile")
        if has_npu():
            torch.npu.set_compile_mode(jit_compile=jit_compile)
            torch.npu.set_option({"NPU_FUZZY_COMPILE_BLACKLIST": "ReduceProd"})  # its binary is not for every shape

    def _known(self, config: dict[str, Any]) -> dict[str, Any]:
        """The settings in `config`. A user's runner may have names of its own, none of them close to a setting's."""
        if type(self).__module__.startswith("porter."):
            return config
        others = {name for name in config if name not in _NAMES and not nearest(name, _NAMES, 1)}
        for name in sorted(others - self._left_alone):
            logger.warning("%r is no setting of the runner: left to %s", name, type(self).__name__)
        self._left_alone |= others
        return {name: value for name, value in config.items() if name not in others}

    @staticmethod
    def _find_class(name: str, settings: Settings) -> Any:
        consents = {"edited": settings.edited, "trust_remote_code": settings.trust_remote_code}
        return find_class(name, settings.models, **consents)

    def _set_before_loading(self, name: str, value: Any) -> None:
        """ValueError for another value of the attribute once the model is loaded. What was checked is checked anew."""
        held = vars(self)
        if held.get("model") is not None and value != held[f"_{name}"]:
            raise ValueError(f"the model is loaded: make a new runner for another {name}")
        if held.get("_config") is not None and held["model"] is None and value != held[f"_{name}"]:
            self._config = self.tokenizer = None
        held[f"_{name}"] = value

    def _settings_of_call(self, config: dict[str, Any]) -> Settings:
        settings = self.settings.updated(**self._known(config))
        for name in _LOADED:
            if self.model is not None and getattr(settings, name) != getattr(self.settings, name):
                raise ValueError(f"the model is loaded: make a new runner for another {name}")
        if self.model is None:
            if settings.models != self.settings.models:
                self.model_class = self._find_class(self.model_name, settings)
            if settings.device != self.settings.device:
                self.ranks = join_ranks(settings.device)
            self.settings = replace(self.settings, **{name: getattr(settings, name) for name in _LOADED})
        return settings


def _as_launched(name: str, wanted: int, found: int) -> None:
    if wanted != found:
        raise ValueError(f"{name} is {found}, as the launcher has it, and not {wanted}: start by deepspeed or torchrun")

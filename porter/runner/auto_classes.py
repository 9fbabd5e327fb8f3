"""Ports in transformers' auto classes: `porter.register("llama2")`, for the process that calls it, until it is undone.

    with porter.register("llama2"):
        generator = pipeline("text-generation", model=checkpoint)

Contract: nothing is registered on import. While a port is registered, `AutoModelForCausalLM.from_pretrained` and
`from_config`, and all that is built on them, take it for configurations of its source. The source's own class, called
by name, stays what it is, and so do models that were loaded before. One port a configuration: a second is CannotRun.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from porter.runner.find import find_class
from porter.runner.refusal import CannotRun

_registered: dict[type, Registration] = {}  # by configuration class


@dataclass(eq=False)
class Registration:
    """The port `name` in the auto classes, until it is undone as often as it was registered.

    `undo()` does, and the end of a `with`.
    """

    name: str
    model_class: Any
    _model_types: list[str] = field(default_factory=list)  # told to AutoConfig, which did not know them
    _times: int = 1  # registered and not undone

    @property
    def config_class(self) -> Any:
        return self.model_class.config_class

    def undo(self) -> None:
        """AutoModelForCausalLM as it was, but for a port that was registered more than once: the last undoes it.

        Nothing after that. Models that were loaded stay as they are.
        """
        if _registered.get(self.config_class) is not self:
            return
        self._times -= 1
        if self._times:
            return
        del _registered[self.config_class]
        # transformers has no way back: these are what `register` writes to
        AutoModelForCausalLM._model_mapping._extra_content.pop(self.config_class, None)
        for model_type in self._model_types:
            CONFIG_MAPPING._extra_content.pop(model_type, None)

    def __enter__(self) -> Registration:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.undo()


def register(
    name: str, models: str | Path | None = None, *, edited: bool = False, trust_remote_code: bool = False
) -> Registration:
    """Put the port `name` of the registry in `models` into AutoModelForCausalLM; the same one again is undone twice.

    Raises CannotRun: P160 where another class has its configuration already, else as a runner does: no such port
    (P080), changed by hand (P135, but for `edited`), code out of a folder that nobody consented to (P141).
    """
    folder = None if models is None else Path(models)
    model_class = find_class(name, folder, edited=edited, trust_remote_code=trust_remote_code)
    config_class = model_class.config_class
    before = _registered.get(config_class)
    if before is not None and before.model_class is model_class:
        before._times += 1
        return before
    _check_free(name, config_class, before)
    made = Registration(name, model_class)
    if not config_class.__module__.startswith("transformers."):  # a configuration that came with the port
        if config_class.model_type in CONFIG_MAPPING:
            has = f"`{config_class.model_type}` is a model type that transformers has a class for"
            raise CannotRun("P160", f"{has}, and the port `{name}` brings its own: {config_class.__name__}")
        AutoConfig.register(config_class.model_type, config_class)
        made._model_types.append(config_class.model_type)
    AutoModelForCausalLM.register(config_class, model_class, exist_ok=True)
    _registered[config_class] = made
    return made


def _check_free(name: str, config_class: Any, before: Registration | None) -> None:
    """P160 where models of this configuration are another class's already."""
    if before is not None:
        taken = f"models of {config_class.__name__} are taken by the port `{before.name}`"
        message = f"{taken}: `{name}` cannot have them too"
        raise CannotRun("P160", message, "undo that registration first: it is what `porter.register` gave back")
    other = AutoModelForCausalLM._model_mapping._extra_content.get(config_class)
    if other is not None:
        message = f"models of {config_class.__name__} are taken by {other.__module__}.{other.__name__}"
        raise CannotRun("P160", message, "register the port where nothing else was registered for them")

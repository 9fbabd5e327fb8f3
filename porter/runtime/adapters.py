"""Adapters on a port, by PEFT as it is: LoRA and its kin apply to q, k, v, gate and up exactly as on the source.

PEFT's tuners keep their configurations in `peft_config` of the model: they look for it before they wrap a module, write
it when all are wrapped, and delete it when the last is unwrapped. A port answers on each of the three:

    read      its merged projections are taken apart, so that PEFT sees the modules of the source
    written   a projection that is still merged is an error: an adapter would be half of what it says
    deleted   projections whose parts are plain again are put together, with the weights PEFT left in them

Of a port inside another module PEFT asks none of these: it lists the modules of the whole. A port that is listed by a
tuner of PEFT is taken apart as well, and stays so when the adapter is unloaded (`put_together` is for whoever wants it
merged).

Contract: without adapters a port is what it was built as. With them it has the modules of its source, so what PEFT
does to those it does here, and what it saves is the source's. An adapter's tensor that has no place is an error; so are
adaption prompts, which compute an attention of their own, and a port in which PEFT's modules stand beside merged
projections all the same, as where one layer alone was given to it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from porter.runtime.leftovers import refuse_leftovers, without_others
from porter.runtime.parts import is_apart, put_together, take_apart
from porter.runtime.weights import merged_state_dict, merges_of

_CONFIGS = "_adapter_configs"
_TUNERS = "peft.tuners."


class TakesAdapters(nn.Module):
    """The part of a port that PEFT, and transformers' own `load_adapter`, talk to."""

    @property
    def peft_config(self) -> Any:
        """Configurations by adapter name, as PEFT wrote them. AttributeError where there are none."""
        found = self.__dict__.get(_CONFIGS)
        if found is None:
            if "peft" in sys.modules:  # whoever else asks whether there are adapters changes nothing
                take_apart(self)
            raise AttributeError(f"{type(self).__name__} has no adapters: `peft_config` is not set")
        return found

    @peft_config.setter
    def peft_config(self, configs: Any) -> None:
        merged = [f"{path}.{merge.name}" for merge in merges_of(self) for path, _ in merge.owners(self)]
        if merged:
            raise RuntimeError(
                f"this release of PEFT did not ask for `peft_config` before it wrapped modules: `{merged[0]}` is still "
                "one projection, and adapters of its parts would be dropped. Use peft 0.21"
            )
        self.__dict__[_CONFIGS] = configs

    @peft_config.deleter
    def peft_config(self) -> None:
        if self.__dict__.pop(_CONFIGS, None) is None:
            raise AttributeError(f"{type(self).__name__} has no adapters: `peft_config` is not set")
        _unwrap_empty(self)
        put_together(self)

    def named_modules(self, memo: Any = None, prefix: str = "", remove_duplicate: bool = True) -> Iterator[Any]:
        """As of any module. A tuner of PEFT lists those of the source, also where it lists a module around this one."""
        if not torch.compiler.is_compiling() and "peft" in sys.modules:
            lister = _lister()
            if lister.startswith(f"{_TUNERS}adaption_prompt"):
                raise ValueError(
                    "an adaption prompt computes an attention of its own around a layer's, by the source's tensors: a "
                    "port has others. Use the source model"
                )
            if lister.startswith(_TUNERS):
                take_apart(self)
        modules: Iterator[Any] = super().named_modules(memo, prefix, remove_duplicate)
        return modules

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As of any module. RuntimeError where an adapter of some of its modules has passed merged ones by."""
        if not torch.compiler.is_compiling() and "peft" in sys.modules:
            _refuse_half(self)
        return super().__call__(*args, **kwargs)

    def load_adapter(self, *args: Any, **kwargs: Any) -> Any:
        """As in transformers. ValueError for tensors of the adapter that have no place here; then it is not added."""
        own, before = self.__dict__.get("_weight_conversions"), set(self.__dict__.get(_CONFIGS, ()))
        try:
            info = super().load_adapter(*args, **kwargs)
            refuse_leftovers([*info.unexpected_keys, *(key for key, *_ in info.mismatched_keys)])
        except Exception:
            added = [name for name in self.__dict__.get(_CONFIGS, ()) if name not in before]
            if added:
                self._hf_peft_config_loaded = True
                self.delete_adapter(added)
            raise
        finally:
            self._weight_conversions = own  # for the weights that `save_pretrained` writes, not for the adapter's
        return info

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Part of a model that is filled: what it would drop is an error, strict or not, in torch's list of them."""
        if prefix and (_CONFIGS in self.__dict__ or is_apart(self)):  # PEFT drops in silence what has no place
            own = self.state_dict(prefix=prefix)
            refuse_leftovers([key for key in state_dict if key.startswith(prefix) and key not in own])
        lost: list[str] = []
        if prefix:
            merged = merged_state_dict(self, state_dict, prefix)
            state_dict.clear()  # the caller's own copy, of which the parts inside this one are filled
            state_dict.update(merged)
            lost = self.lost_parts(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)
        if lost:
            args[-1].append(without_others(lost))

    def lost_parts(self, keys: Iterable[str], prefix: str = "") -> list[str]:
        """Of a state dict's `keys`, those that name a part whose rows are merged here."""
        owned = [(merge, path) for merge in merges_of(self) for path, _ in merge.owners(self)]
        parts = tuple(f"{prefix}{path}.{part}." for merge, path in owned for part in merge.parts)
        return [key for key in keys if key.startswith(parts)] if parts else []


def has_adapters(model: nn.Module) -> bool:
    """Whether PEFT is on `model`, on a module around it, or on one inside it."""
    return any(_CONFIGS in vars(module) for module in model.modules()) or _is_tuned(model)


def _lister() -> str:
    """Name of the module whose code lists a port's modules, past torch, which lists those of a module around it."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__") in ("torch.nn.modules.module", __name__):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__"))


def _is_tuned(model: nn.Module) -> bool:
    """Whether a module of PEFT stands in `model`."""
    if "peft" not in sys.modules:
        return False
    from peft.tuners.tuners_utils import BaseTunerLayer

    return any(isinstance(module, BaseTunerLayer) for module in model.modules())


def _refuse_half(model: nn.Module) -> None:
    if not _is_tuned(model):
        return
    merged = next((f"{path}.{merge.name}" for merge in merges_of(model) for path, _ in merge.owners(model)), None)
    if merged is not None:
        raise RuntimeError(
            f"PEFT is on some modules of this port while `{merged}` is one projection, which it passed by: an adapter "
            "would be half of what it says. Load the port again, and give PEFT the port, not a module inside it"
        )


def _unwrap_empty(model: nn.Module) -> None:
    """PEFT's layers that have lost their last adapter, which `delete_adapter` leaves, give way to what they wrapped."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, BaseTunerLayer) and not child._get_available_adapters():
                setattr(module, name, child.get_base_layer())

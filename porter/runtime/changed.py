"""What somebody set on the modules of a port that its source would heed, and the port would pass by.

Contract: looked for before a model's call computes anything, in eager. Modules that are exchanged, taken out or put in
another order are called as they stand; what stands here is what no call would come to.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Container, Iterator, Mapping
from functools import lru_cache
from typing import Any

from torch import nn

from porter.runtime.arguments import OtherComputation
from porter.runtime.masks import kernel_mask
from porter.runtime.weights import RowMerge


def note_built(model: nn.Module) -> None:
    """Note on each attention inside `model`, which has just been built, that it is causal: those of an encoder's states
    are not, and are never called."""
    for module in _inside(model):
        if _calls_kernel(module) and getattr(module, "is_causal", False):
            module._built_causal = True


def refuse_changed(model: nn.Module, merges: tuple[RowMerge, ...], unheeded: Mapping[str, tuple[str, ...]]) -> None:
    """Raises OtherComputation for what was set on a module inside `model` and would change nothing: a part beside the
    projection that it is merged in, an attribute of a class of `unheeded`, attention that is not causal, and dropout of
    its weights while training."""
    for module in _inside(model, unheeded):
        _refuse_unheeded(module, unheeded)
        for merge in merges:
            if merge.name in module._modules:
                _refuse_part(module, merge)
        if _calls_kernel(module):
            _refuse_attention(module)


def _inside(model: nn.Module, wanted: Container[str] = ()) -> Iterator[nn.Module]:
    """Every module in `model` that has others in it or is of a class of `wanted`: this is walked in each step, and
    `modules()` takes its time."""
    found: list[nn.Module] = [model]
    for module in found:
        found.extend(
            child
            for child in module._modules.values()
            if child is not None and (child._modules or type(child).__name__ in wanted)
        )
        yield module


def _refuse_unheeded(module: nn.Module, unheeded: Mapping[str, tuple[str, ...]]) -> None:
    for base in type(module).__mro__:
        for name in unheeded.get(base.__name__, ()):
            set_here = name in module.__dict__ or name in module._modules
            if set_here and name not in _names_in(module.__class__):
                raise OtherComputation(
                    f"`{name}` was set on a {base.__name__}, which computes without it and would pass it by: exchange "
                    "the whole module, change the configuration, or use the source model"
                )


def _refuse_part(owner: nn.Module, merge: RowMerge) -> None:
    part = next((part for part in merge.parts if part in owner._modules), None)
    if part is not None and (merge.sizes is None or hasattr(owner, merge.sizes)):
        raise OtherComputation(
            f"`{part}` was set on a {type(owner).__name__}, which computes it in `{merge.name}` and would pass it by: "
            f"change those rows of `{merge.name}`, or change the source's module and save that"
        )


def _refuse_attention(module: Any) -> None:
    if "_built_causal" in vars(module) and not module.is_causal:
        raise OtherComputation(
            f"is_causal was set to {module.is_causal} on a {type(module).__name__}: a port's masks are causal. "
            "Leave it True, or use the source model"
        )
    dropped = _dropped(module) if module.training else None
    if dropped is not None:
        raise OtherComputation(
            f"{dropped} drops attention weights while training, and a port's kernel drops none: call eval() first, or "
            "train the source model"
        )


def _dropped(module: nn.Module) -> str | None:
    """The dropout of an attention that is above 0 and that no method of its class looks at."""
    for name, value in (*vars(module).items(), *module._modules.items()):
        chance = value.p if isinstance(value, nn.Dropout) else value
        if "dropout" in name and isinstance(chance, float) and chance > 0 and name not in _names_in(module.__class__):
            return f"{name}={chance}"
    return None


@lru_cache(maxsize=1024)
def _names_in(kind: type) -> frozenset[str]:
    """Global names and attributes in the methods of a class, its own and inherited, but for those that it is built
    with. What a class defines anew hides that of its bases, unless it calls that by `super()`."""
    found: set[str] = set()
    hidden = {"__init__"}
    for base in kind.__mro__:
        for name, value in vars(base).items():
            method = inspect.unwrap(value) if isinstance(value, types.FunctionType) else None
            named = method.__code__.co_names if isinstance(method, types.FunctionType) else ()
            if name not in hidden:
                found.update(named)
                if "super" not in named:
                    hidden.add(name)
    return frozenset(found)


def _calls_kernel(module: nn.Module) -> bool:
    """Whether a rule has ported the attention that `module` is."""
    return kernel_mask.__name__ in _names_in(module.__class__)

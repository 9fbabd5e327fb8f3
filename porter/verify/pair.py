"""A source model and its port with the same weights, to be asked the same things.

Contract: the weights are random with noise on every parameter, so that a norm weight of 1 or a bias of 0 hides nothing;
both models load them with `from_pretrained` from one checkpoint that the source wrote. All inputs are drawn from seeds.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from porter.runtime import StaticKVCache, position_ids_from_mask
from porter.runtime.cache_name import returned_cache

NOISE = 0.1  # deviation, added to every parameter
SEED = 1


class NotApplicable(Exception):
    """There is no such thing to check; the text says why."""


@dataclass
class Pair:
    """Both models in one dtype, in eval mode, on the CPU. `folder` is the checkpoint they came from."""

    source: Any
    port: Any
    config: Any
    folder: Path

    @cached_property
    def static(self) -> bool:
        """Whether the port keeps a static cache; without the attention rule it keeps transformers' own."""
        with torch.no_grad():
            output = self.port(self.prompts(1, 2), use_cache=True)
        return isinstance(returned_cache(output), StaticKVCache)

    @property
    def window(self) -> int | None:
        """Length of the sliding window, where a layer has one."""
        config = self.config.get_text_config(decoder=True)
        window, kinds = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
        if not isinstance(window, int) or (kinds and "sliding_attention" not in kinds):
            return None
        return window if getattr(config, "use_sliding_window", True) else None

    def prompts(self, batch: int, length: int, seed: int = 0) -> torch.Tensor:
        """Token ids (batch, length) without the special ones."""
        vocabulary = self.config.get_text_config(decoder=True).vocab_size
        generator = torch.Generator().manual_seed(1000 + seed)
        return torch.randint(3, vocabulary, (batch, length), generator=generator)

    def padded(self, lengths: tuple[int, ...]) -> dict[str, torch.Tensor]:
        """Unequal prompts as one batch with left padding: input_ids, attention_mask, position_ids (B, S), if taken."""
        ids = self.prompts(len(lengths), max(lengths))
        columns = torch.arange(max(lengths))
        mask = (columns >= max(lengths) - torch.tensor(lengths)[:, None]).long()
        padding = getattr(self.config.get_text_config(decoder=True), "pad_token_id", None)  # not every model has one
        ids = ids.masked_fill(mask == 0, padding or 0)
        batch = {"input_ids": ids, "attention_mask": mask, "position_ids": position_ids_from_mask(mask)}
        return {name: value for name, value in batch.items() if self.takes(name)}

    def takes(self, argument: str) -> bool:
        """Whether the source's `forward` has a place for that argument."""
        parameters = inspect.signature(self.source.forward).parameters.values()
        return any(p.name == argument or p.kind is p.VAR_KEYWORD for p in parameters)

    def needs(self, argument: str) -> None:
        """NotApplicable where the source's `forward` takes no such argument."""
        if not self.takes(argument):
            raise NotApplicable(f"the source takes no {argument}")

    def both(self, ask: Callable[[Any], Any]) -> tuple[Any, Any]:
        """The source's answer and the port's, each model settled first: some rope types remember long inputs."""
        answers = []
        with torch.no_grad():
            for model in (self.source, self.port):
                model(self.prompts(1, 1), use_cache=False)
                answers.append(ask(model))
        return answers[0], answers[1]


class NpuOps(TorchDispatchMode):
    """Counts the calls of torch.ops.npu inside the `with` block: which code ran is seen, not assumed."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "npu":
            self.calls[func._schema.name.removeprefix("npu::")] += 1
        return func(*args, **(kwargs or {}))

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in sorted(self.calls.items()))


def write_checkpoint(source_class: Any, config: Any, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """A random model of the source class, with noise, saved in `dtype`."""
    torch.manual_seed(SEED)
    model = source_class(deepcopy(config))  # saving writes into it, and what it writes is no dtype
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in model.parameters():  # tied ones come once
            parameter.add_(torch.randn(parameter.shape, generator=generator) * NOISE)
    # A stop token would end a comparison early; both models read this from the checkpoint.
    model.generation_config.eos_token_id = None
    model.to(dtype).save_pretrained(folder)


def load(model_class: Any, folder: Path, dtype: torch.dtype = torch.float32, **asked: Any) -> Any:
    """A model in eval mode; `asked` are further arguments of `from_pretrained`."""
    return model_class.from_pretrained(folder, dtype=dtype, **asked).eval()


def relative(one: torch.Tensor, truth: torch.Tensor) -> float:
    """Largest difference as a share of the truth's largest magnitude; infinite for other shapes, NaN or inf."""
    if one.shape != truth.shape:
        return float("inf")
    difference = (one.double() - truth.double()).abs().max() / truth.double().abs().max().clamp_min(1e-30)
    return float(difference) if bool(difference.isfinite()) else float("inf")

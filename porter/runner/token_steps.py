"""From a batch of tokens to new tokens: the part of a runner that has the KV cache, the compiled steps and the stops.

Contract: tokens are those of transformers' `generate()` on the same parameters, in every mode. What they are is asked
of `_generate_params`, which a user's runner may override; the rest is the runner's own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import BatchEncoding, LogitsProcessorList

from porter.runner.attributes import RunnerAttributes
from porter.runner.backends import choose_backend
from porter.runner.clock import StepClock
from porter.runner.configuration import computing
from porter.runner.generation import CHOSEN, asked_config, check_processors, check_ways
from porter.runner.graph import GraphPool
from porter.runner.kept_cache import KeptCache
from porter.runner.loop import CompiledLoop
from porter.runner.parameters import roomy, whole, with_stops
from porter.runner.prompts import padding_token
from porter.runner.ranks import common_seed
from porter.runner.room import check_room, warn_of_positions, within_memory
from porter.runner.settings import Settings
from porter.runner.stops import stops_for
from porter.runner.stream import TextStream
from porter.runner.unsaid import unsaid
from porter.runtime import NpuPreTrainedModel, block_products
from porter.runtime.cache_name import GENERATED

_REMINDER = ("transformers.generation.stopping_criteria", "This is a friendly reminder")  # it counts padding as tokens
Emit = Callable[[int, "str | None"], None]


class TokenSteps(RunnerAttributes):
    """A runner whose `model` and `tokenizer` are there."""

    def __init__(self, model_name: str, model_path: str | Path, config: dict[str, Any]) -> None:
        super().__init__(model_name, model_path, config)
        self._turn = threading.RLock()  # one model, one cache
        self._kept = KeptCache()
        self._graphs: GraphPool | None = None
        self._seen: Any = None  # the model that `_make_ready` has seen
        self._strings: Any = None  # stop strings of the checkpoint's generation config
        self._call: Settings | None = None  # of the call that is under way
        self._generating = False
        self._last_loop: CompiledLoop | None = None

    def generate(
        self,
        inputs: Mapping[str, torch.Tensor],
        settings: Settings,
        clock: StepClock | None = None,
        steps: int | None = None,
        emit: Emit | None = None,
    ) -> list[list[int]]:
        """New tokens of each row, at most `steps` or max_new_tokens, up to and with the one that stopped it.

        `emit(row, piece)` gets the text as it comes, and None at the row's end.
        """
        with self._turn, unsaid(*_REMINDER), within_memory(self.device), computing(Path(self.model_path)):
            before, self._call, self._generating = self._call, settings, True
            try:
                asked = self._generate_params(BatchEncoding(dict(inputs)), steps or settings.max_new_tokens)
                return self._generate(asked, settings, clock, emit)
            except BaseException:
                self._kept.cache = None  # one that was too large is not tried again
                raise
            finally:
                self._call, self._generating = before, False

    def _generate_params(self, inputs: Any, max_new_tokens: int) -> dict[str, Any]:
        """What `model.generate()` is told of a batch. A user's runner may change it, or say it anew.

        `inputs`: input_ids and attention_mask (B, S), as items and as attributes. Whoever calls `model.generate()`
        himself gets the cache and the compiled steps of the mode with it.
        """
        asked = {
            "input_ids": inputs["input_ids"],
            "attention_mask": inputs["attention_mask"],
            **(self._call or self.settings).generation(),
            **CHOSEN,
            "max_new_tokens": max_new_tokens,
            "pad_token_id": padding_token(self.tokenizer),
        }
        if self._generating:  # and the rest is added to what comes back
            return asked
        self._make_ready()
        return self._for_steps(asked, self._call or self.settings)

    # -- helpers

    def _make_ready(self) -> None:
        """What every call needs of the model, whether it was loaded here or by a user's `init_model`; once."""
        if self._seen is self.model:
            return
        self._seen, self._graphs, self._kept = self.model, None, KeptCache()
        self.model.eval()
        block_products(self.model)
        self.model.config.output_attentions = False  # nobody here looks at the weights
        own = self.model.generation_config
        self._strings, own.stop_strings = own.stop_strings, None  # one criterion for them: `RowStops`

    def _generate(
        self, asked: Mapping[str, Any], settings: Settings, clock: StepClock | None, emit: Emit | None
    ) -> list[list[int]]:
        params = self._for_steps(asked, settings, emit)
        length = params["input_ids"].shape[1]
        seed = common_seed(self.ranks, settings.seed)
        if seed is not None:
            torch.manual_seed(seed)
        processors = [*(params.pop("logits_processor", None) or ()), *([clock] if clock is not None else [])]
        tokens = self.model.generate(**params, logits_processor=LogitsProcessorList(processors))
        return params["stopping_criteria"][-1].cut(tokens[:, length:])

    def _for_steps(self, asked: Mapping[str, Any], settings: Settings, emit: Emit | None = None) -> dict[str, Any]:
        """The parameters with what this mode's steps need besides: the kept cache, emptied, the stops, the loop."""
        compiled = self.execute_mode == "dynamo"
        params = {**whole(asked, self._kept.cache, compiled), **CHOSEN}
        config = asked_config(self.model, params)
        check_ways(self.model.generation_config, compiled)
        check_ways(config, compiled)
        check_processors(self.model, config)
        batch, length = params["input_ids"].shape
        settings = roomy(settings, config, length)
        steps = config.max_new_tokens or settings.max_new_tokens
        check_room(type(self.model), self.model.config, length, steps)
        warn_of_positions(self.model.config, int(params["attention_mask"].sum(-1).max()) + steps)
        strings = config.stop_strings or settings.stop_strings or self._strings
        params = with_stops(params, stops_for(self.tokenizer, length, config.eos_token_id, strings))
        if isinstance(self.model, NpuPreTrainedModel):
            params[GENERATED] = self._kept.emptied(self.model, settings, batch, self.device)
        if emit is not None and params.get("streamer") is None:
            params["streamer"] = TextStream(self.tokenizer, batch, params["stopping_criteria"][-1], emit)
        if compiled:
            params["custom_generate"] = self._loop(params["attention_mask"], settings, params.get("streamer"))
        return params

    def _loop(self, attention_mask: torch.Tensor, settings: Settings, streamer: Any) -> CompiledLoop:
        cache = self._kept.cache
        assert cache is not None
        if self._graphs is None:
            self._graphs = GraphPool(self.model)
        length = attention_mask.shape[1]
        steps = self._graphs.steps_for(
            cache,
            batch=attention_mask.shape[0],
            backend=choose_backend(settings.backend, self.device),
            width=length if settings.input_padding and length == settings.input_max_len else None,
            cache_folder=settings.cache_folder,
        )
        mask = torch.nn.functional.pad(attention_mask, (0, self._kept.slots - length), value=1)
        self._last_loop = CompiledLoop(steps, cache, mask, streamer)
        return self._last_loop

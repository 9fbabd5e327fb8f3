"""Runs a ported model on prompts: what users of the hand ports already write.

    runner = LlmModelRunner("llama2", model_path, input_padding=True, dtype=torch.float16, max_new_tokens=64)
    runner.execute_mode = "dynamo"
    runner.set_npu_config(jit_compile=False)
    answers = runner.execute_model(["Once upon a time"])

Contract: the model is the registry's, the checkpoint is unchanged, batches are padded on the left, and tokens are those
of transformers' `generate()` on the same inputs, in every mode. Whatever cannot work raises before weights are read.
Threads that share a runner take turns.
Each step of `execute_model` is a method to override: load_tokenizer, tokenize, load_model, shard_model, generate,
decode, show, report.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LogitsProcessorList, StoppingCriteriaList

from porter.runner.adapter import check_adapter, merge_adapter
from porter.runner.answers import Answer, Answers
from porter.runner.backends import choose_backend
from porter.runner.checkpoint import check_checkpoint
from porter.runner.clock import StepClock
from porter.runner.configuration import computing
from porter.runner.find import check_ops, find_class
from porter.runner.generation import CHOSEN, check_processors, check_ways, stored_generation
from porter.runner.graph import GraphPool
from porter.runner.kept_cache import KeptCache
from porter.runner.loading import load_whole
from porter.runner.loop import CompiledLoop
from porter.runner.prompts import check_prompts, encode, padding_token
from porter.runner.ranks import common_seed, join_ranks, shard_over
from porter.runner.refusal import CannotRun, keeps_its_cache
from porter.runner.room import check_positions, warn_of_positions, within_memory
from porter.runner.settings import Settings, from_environment
from porter.runner.stops import stops_for
from porter.runner.stream import Printer, TextStream
from porter.runner.unsaid import unsaid
from porter.runtime import NpuPreTrainedModel, block_products

logger = logging.getLogger("porter.runner")

MODES = ("eager", "dynamo")
_LOADED = ("dtype", "device", "models", "adapter")  # settings that a loaded model keeps
_REMINDER = ("transformers.generation.stopping_criteria", "This is a friendly reminder")  # it counts padding as tokens
Emit = Callable[[int, "str | None"], None]


class LlmModelRunner:
    """One model on one checkpoint. `config` takes the names of `Settings`; so does each `execute_model`.

    Raises CannotRun (a ValueError) for a name that is not registered and for a checkpoint the port cannot run.
    """

    def __init__(self, name: str, model_path: str | Path, **config: Any) -> None:
        mode, settings = from_environment()
        self.name = name
        self.model_path = Path(model_path)
        self.settings: Settings = settings.updated(**config)
        self.execute_mode = mode
        self.model_class = find_class(
            self.name,
            self.settings.models,
            edited=self.settings.edited,
            trust_remote_code=self.settings.trust_remote_code,
        )
        self.ranks = join_ranks(self.settings.device)
        self.tokenizer: Any = None
        self._config: Any = None  # the checkpoint's, once that is checked
        self.model: Any = None
        self._turn = threading.RLock()  # one model, one cache
        self._kept = KeptCache()
        self._graphs: GraphPool | None = None
        self._strings: Any = None  # stop strings of the checkpoint's generation config
        self._warm: set[tuple[Any, ...]] = set()

    @property
    def device(self) -> torch.device:
        return self.ranks.device

    @property
    def execute_mode(self) -> str:
        """`eager`, or `dynamo` for compiled steps."""
        return self._execute_mode

    @execute_mode.setter
    def execute_mode(self, mode: str) -> None:
        if mode not in MODES:
            raise ValueError(f"execute_mode is {' or '.join(MODES)}, not {mode!r}")
        self._execute_mode = mode

    def set_npu_config(self, jit_compile: bool = False) -> None:
        """`jit_compile`: compile operators for their shapes instead of taking the binaries. Nothing without an NPU."""
        if self.device.type == "npu":
            torch.npu.set_compile_mode(jit_compile=jit_compile)

    # -- the work

    def init_model(self) -> None:
        """Check the checkpoint, then load tokenizer and model; once."""
        if self.model is not None:
            return
        self._init_tokenizer()
        check_adapter(self.settings.adapter, self.model_class, self.model_path)
        self.model = self.shard_model(merge_adapter(self.load_model(), self.settings.adapter)).eval()
        block_products(self.model)
        self.model.config.output_attentions = False  # nobody here looks at the weights
        own = self.model.generation_config
        self._strings, own.stop_strings = own.stop_strings, None  # one criterion for them: `RowStops`

    def execute_model(self, prompts: str | Sequence[str], **config: Any) -> Answers:
        """Answer the prompts as one batch; `config` changes settings for this call. Raises CannotRun for bad prompts.

        A model that is loaded keeps its dtype, device, adapter and registry: other ones here are a ValueError.
        """
        with self._turn:
            return self._execute(prompts, self._settings_of_call(config))

    def _execute(self, prompts: str | Sequence[str], settings: Settings) -> Answers:
        listed = [prompts] if isinstance(prompts, str) else list(prompts)
        check_prompts(listed)
        self._check_mode(settings)
        self._init_tokenizer()
        self._check_request(len(listed), settings)
        inputs = self.tokenize(listed, settings)
        self.init_model()
        self._warm_up(inputs, settings)
        clock = StepClock()
        emit = self.show(listed) if settings.stream and self.ranks.rank == 0 else None
        rows = self.generate(inputs, settings, clock, emit=emit)
        answers = Answers(self.decode(listed, rows), clock.prefill_ms, clock.ms_per_token)
        self.report(answers)
        return answers

    # -- single steps

    def load_tokenizer(self) -> Any:
        """The checkpoint's own tokenizer. No code of the checkpoint is run, nor asked about: the port stands for it."""
        try:
            return AutoTokenizer.from_pretrained(self.model_path, config=self._config, trust_remote_code=False)
        except Exception as error:  # tokenizers raises no narrower one
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            message = f"the tokenizer in `{self.model_path}` does not load: {first}"
            raise CannotRun("P082", message, "download the tokenizer's files again") from error

    def tokenize(self, prompts: list[str], settings: Settings) -> dict[str, torch.Tensor]:
        """input_ids and attention_mask (B, S) on the device: S is input_max_len with padding, else the longest."""
        shortest = 2 if self.execute_mode == "dynamo" else 1  # a graph for any length is one for lengths from 2 on
        batch = encode(self.tokenizer, prompts, settings, shortest)
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def load_model(self) -> Any:
        """The ported model with the checkpoint's weights: on the device, or on the host if it is yet to be split."""
        check_ops(self.name, self.settings.models, self.device.type)
        model = load_whole(self.model_class, self.model_path, self.settings.dtype or "auto")
        return model if self.ranks.parallel else model.to(self.device)

    def shard_model(self, model: Any) -> Any:
        """This rank's part of the model, on its device; the model itself where there is one rank."""
        return shard_over(self.ranks, model, self.name, self.settings.models)

    def generate(
        self,
        inputs: dict[str, torch.Tensor],
        settings: Settings,
        clock: StepClock | None = None,
        steps: int | None = None,
        emit: Emit | None = None,
    ) -> list[list[int]]:
        """New tokens of each row, at most `steps` or max_new_tokens, up to and with the one that stopped it.

        `emit(row, piece)` gets the text as it comes, and None at the row's end.
        """
        with self._turn, unsaid(*_REMINDER), within_memory(self.device), computing(self.model_path):
            try:
                return self._generate(inputs, settings, clock, steps or settings.max_new_tokens, emit)
            except BaseException:
                self._kept.cache = None  # one that was too large is not tried again
                raise

    def _generate(
        self, inputs: dict[str, Any], settings: Settings, clock: StepClock | None, steps: int, emit: Emit | None
    ) -> list[list[int]]:
        batch, length = inputs["input_ids"].shape
        options: dict[str, Any] = settings.generation() | CHOSEN
        options |= {"max_new_tokens": steps, "pad_token_id": padding_token(self.tokenizer)}
        check_ways(self.model.generation_config, compiled=self.execute_mode == "dynamo")
        check_processors(self.model, options)
        warn_of_positions(self.model.config, int(inputs["attention_mask"].sum(-1).max()) + steps)
        stops = stops_for(self.model, self.tokenizer, length, settings, self._strings)
        if issubclass(self.model_class, NpuPreTrainedModel):
            options["past_key_values"] = self._kept.emptied(self.model, settings, batch, self.device)
        if emit is not None:
            options["streamer"] = TextStream(self.tokenizer, batch, stops, emit)
        if self.execute_mode == "dynamo":
            options["custom_generate"] = self._loop(inputs["attention_mask"], settings, options.get("streamer"))
        seed = common_seed(self.ranks, settings.seed)
        if seed is not None:
            torch.manual_seed(seed)
        tokens = self.model.generate(
            **inputs,
            **options,
            logits_processor=LogitsProcessorList([clock] if clock is not None else []),
            stopping_criteria=StoppingCriteriaList([stops]),
        )
        return stops.cut(tokens[:, length:])

    def decode(self, prompts: list[str], rows: list[list[int]]) -> tuple[Answer, ...]:
        """New tokens of each row -> answers."""
        return tuple(
            Answer(prompt, self.tokenizer.decode(row, skip_special_tokens=True), tuple(row))
            for prompt, row in zip(prompts, rows, strict=True)
        )

    def show(self, prompts: list[str]) -> Emit:
        """What gets the pieces of a streamed answer: here a printer to stdout."""

        def write(text: str) -> None:
            sys.stdout.write(text)
            sys.stdout.flush()

        return Printer(prompts, write)

    def report(self, answers: Answers) -> None:
        """Log the answers and times, on rank 0 only."""
        if self.ranks.rank:
            return
        for answer in answers:
            logger.info("%s%s", answer.prompt, answer.text)
        logger.info("%s", answers.times())

    # -- helpers

    def _init_tokenizer(self) -> None:
        if self.tokenizer is None:
            self._config = check_checkpoint(self.model_path, self.model_class, self.settings.dtype)
            self.ranks.check(self.model_class, self.model_path)
            self.tokenizer = self.load_tokenizer()

    def _check_request(self, batch: int, settings: Settings) -> None:
        """What the generation config asks for, and whether there is room for it; before weights are read."""
        own = self.model.generation_config if self.model is not None else stored_generation(self.model_path)
        check_ways(own, compiled=self.execute_mode == "dynamo")
        check_positions(self._config, settings)
        self._kept.check(self._config, settings, batch, self.device)

    def _settings_of_call(self, config: dict[str, Any]) -> Settings:
        settings = self.settings.updated(**config)
        for name in _LOADED:
            if self.model is not None and getattr(settings, name) != getattr(self.settings, name):
                raise ValueError(f"the model is loaded: make a new runner for another {name}")
        if self.model is None:
            if settings.device != self.settings.device:
                self.ranks = join_ranks(settings.device)
            self.settings = replace(self.settings, **{name: getattr(settings, name) for name in _LOADED})
        return settings

    def _check_mode(self, settings: Settings) -> None:
        if self.execute_mode == "eager":
            return
        choose_backend(settings.backend, self.device)
        if not issubclass(self.model_class, NpuPreTrainedModel):
            raise keeps_its_cache(self.name, "set execute_mode to `eager`")

    def _warm_up(self, inputs: dict[str, torch.Tensor], settings: Settings) -> None:
        """Two tokens, thrown away, at the first batch of a shape. The generator's state stays as it was."""
        compiles = self.execute_mode == "dynamo"
        shape = (compiles, settings.input_padding, settings.backend, inputs["input_ids"].shape[0])
        wanted = compiles if settings.warm_up is None else settings.warm_up
        if wanted and shape not in self._warm:
            others = {} if self.device.type == "cpu" else {"device_type": self.device.type}
            with torch.random.fork_rng(None if others else [], **others):
                self.generate(inputs, settings, steps=min(2, settings.max_new_tokens))
        self._warm.add(shape)

    def _loop(self, attention_mask: torch.Tensor, settings: Settings, streamer: TextStream | None) -> CompiledLoop:
        cache = self._kept.cache
        assert cache is not None
        if self._graphs is None:
            self._graphs = GraphPool(self.model)
        steps = self._graphs.steps_for(
            cache,
            batch=attention_mask.shape[0],
            backend=choose_backend(settings.backend, self.device),
            width=settings.input_max_len if settings.input_padding else None,
            cache_folder=settings.cache_folder,
        )
        ahead = self._kept.slots - attention_mask.shape[1]
        mask = torch.nn.functional.pad(attention_mask, (0, ahead), value=1)
        return CompiledLoop(steps, cache, mask, streamer)

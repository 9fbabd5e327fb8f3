"""Runs a ported model on prompts: what users of the hand ports already write.

    runner = LlmModelRunner("llama2", model_path, input_padding=True, dtype=torch.float16, max_new_tokens=64)
    runner.execute_mode = "dynamo"
    runner.set_npu_config(jit_compile=False)
    answers = runner.execute_model(["Once upon a time"])

Contract: the model is the registry's, the checkpoint is unchanged, batches are padded on the left, and tokens are those
of transformers' `generate()` on the same inputs, in every mode. Whatever cannot work raises before weights are read.
Threads that share a runner take turns.
Each step of `execute_model` is a method to override. Those of the hand ports, called as theirs: init_model,
generate_tokenizer, warmup, model_generate, _generate_params. Within them: tokenize, load_model, shard_model, generate,
decode, show, report.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, BatchEncoding

from porter.runner.adapter import check_adapter, merge_adapter
from porter.runner.answers import Answer, Answers
from porter.runner.backends import choose_backend
from porter.runner.checkpoint import check_checkpoint
from porter.runner.clock import StepClock
from porter.runner.find import check_ops
from porter.runner.generation import check_ways, stored_generation
from porter.runner.loading import load_whole
from porter.runner.loop import CompiledLoop
from porter.runner.prompts import check_prompts, encode
from porter.runner.ranks import check_policy, policy_of, shard_over
from porter.runner.refusal import CannotRun, keeps_its_cache
from porter.runner.room import check_positions, check_room
from porter.runner.settings import Settings
from porter.runner.stream import Printer
from porter.runner.token_steps import Emit, TokenSteps
from porter.runtime import NpuPreTrainedModel

logger = logging.getLogger("porter.runner")


class LlmModelRunner(TokenSteps):
    """One model on one checkpoint. `config` takes the names of `Settings`; so does each `execute_model`.

    Raises CannotRun (a ValueError) for a name that is not registered and for a checkpoint the port cannot run.
    """

    def __init__(self, model_name: str, model_path: str | Path, **config: Any) -> None:
        super().__init__(model_name, model_path, config)
        self._warming = False
        self._warm: set[tuple[Any, ...]] = set()

    # -- the work

    def execute_model(self, prompts: str | Sequence[str], **config: Any) -> Answers:
        """Answer the prompts as one batch; `config` changes settings for this call. Raises CannotRun for bad prompts.

        Loads the model, warms up and generates; gives what `model_generate` gives. A model that is loaded keeps its
        dtype, device, adapter and registry: other ones here are a ValueError.
        """
        with self._turn:
            self._call = settings = self._settings_of_call(config)
            try:
                self._load(prompts, settings)
                lengths = {"input_max_len": settings.input_max_len, "max_new_tokens": settings.max_new_tokens}
                return self._generate_answer(prompts, **{**config, **lengths})
            finally:
                self._call = None

    def _generate_answer(self, prompts: Any, **kwargs: Any) -> Any:
        self.warmup(prompts, **kwargs)
        self._last_loop = None
        answers = self.model_generate(prompts, True, **kwargs)
        loop: CompiledLoop | None = self._last_loop
        if self.execute_mode == "dynamo" and not (loop is not None and loop.ran):
            help = "give `model.generate` what `self._generate_params` gives"
            logger.warning("%s.model_generate ran its steps eagerly, not by dynamo: %s", type(self).__name__, help)
        return answers

    # -- steps of the hand ports

    def init_model(self, injection_policy: Any = None) -> None:
        """Check the checkpoint, then load tokenizer and model; once.

        injection_policy: what DeepSpeed cuts where there are several ranks; the registry's, and no other (P087).
        """
        if self.model is not None:
            return
        if self.ranks.parallel:
            check_policy(injection_policy, self.model_name, self.settings.models, self.model_class)
        self._init_tokenizer()
        check_adapter(self.settings.adapter, self.model_class, self._folder)
        self.model = self.shard_model(merge_adapter(self.load_model(), self.settings.adapter))
        self._make_ready()

    def generate_tokenizer(self) -> Any:
        """The checkpoint's own tokenizer, which pads on the left.

        No code of the checkpoint is run, nor asked about: the port stands for it.
        """
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                self._folder, config=self._config, trust_remote_code=False, padding_side="left"
            )
        except Exception as error:  # tokenizers raises no narrower one
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            message = f"the tokenizer in `{self.model_path}` does not load: {first}"
            raise CannotRun("P082", message, "download the tokenizer's files again") from error
        if tokenizer.pad_token is None and tokenizer.eos_token is not None:
            tokenizer.pad_token = tokenizer.eos_token  # any token will do: the mask hides it
        return tokenizer

    def warmup(self, warmup_prompts: Any, **kwargs: Any) -> None:
        """Two tokens, thrown away, at the first batch of a shape. The generator's state stays as it was."""
        settings = self._settings_of_call(kwargs)
        compiles = self.execute_mode == "dynamo"
        batch = 1 if isinstance(warmup_prompts, str) else len(warmup_prompts)
        shape = (compiles, settings.input_padding, settings.backend, batch)
        wanted = compiles if settings.warm_up is None else settings.warm_up
        if wanted and shape not in self._warm:
            others = {} if self.device.type == "cpu" else {"device_type": self.device.type}
            self._warming = True
            try:
                with torch.random.fork_rng(None if others else [], **others):
                    self.model_generate(warmup_prompts, **kwargs)
            finally:
                self._warming = False
        self._warm.add(shape)

    def model_generate(self, prompts: Any, decode_out: bool = False, **kwargs: Any) -> Any:
        """Answer the prompts as one batch. decode_out: report the answers and their times, else their times alone."""
        with self._turn:
            settings = self._settings_of_call(kwargs)
            self._load(prompts, settings)
            listed, inputs = self._inputs(prompts, settings)
            self._make_ready()
            clock = StepClock()
            emit = self.show(listed) if decode_out and settings.stream and self.is_logging else None
            steps = min(2, settings.max_new_tokens) if self._warming else None
            rows = self.generate(inputs, settings, clock, steps, emit)
            answers = Answers(self.decode(listed, rows), clock.prefill_ms, clock.ms_per_token)
            if decode_out:
                self.report(answers)
            elif self.is_logging and not self._warming:
                logger.info("%s", answers.times())
            return answers

    # -- steps within them

    def tokenize(self, prompts: list[str], settings: Settings) -> BatchEncoding:
        """input_ids and attention_mask (B, S) on the device: S is input_max_len with padding, else the longest."""
        shortest = 2 if self.execute_mode == "dynamo" else 1  # a graph for any length is one for lengths from 2 on
        return BatchEncoding(encode(self.tokenizer, prompts, settings, shortest)).to(self.device)

    def load_model(self) -> Any:
        """The ported model with the checkpoint's weights: on the device, or on the host if it is yet to be split."""
        check_ops(self.model_name, self.settings.models, self.device.type)
        model = load_whole(self.model_class, self._folder, self.settings.dtype or "auto")
        return model if self.ranks.parallel else model.to(self.device)

    def shard_model(self, model: Any) -> Any:
        """This rank's part of the model, on its device; the model itself where there is one rank."""
        return shard_over(self.ranks, model, self.model_name, self.settings.models)

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
        """Log the answers and times, where this process logs."""
        if not self.is_logging:
            return
        for answer in answers:
            logger.info("%s%s", answer.prompt, answer.text)
        logger.info("%s", answers.times())

    # -- helpers

    @property
    def _folder(self) -> Path:
        return Path(self.model_path)

    def _overrides(self, step: str) -> bool:
        """Whether a step is a user's own."""
        return step in vars(self) or getattr(type(self), step) is not getattr(LlmModelRunner, step)

    def _load(self, prompts: Any, settings: Settings) -> None:
        """The model, once. What cannot work is said before weights are read, but for steps that are a user's own."""
        if self.model is not None:
            return
        if not self._overrides("init_model") and not self._overrides("model_generate"):
            self._inputs(prompts, settings)
        self.init_model(policy_of(self.model_name, self.settings.models, self.model_class))
        if self.model is None:
            raise RuntimeError(f"{type(self).__name__}.init_model sets no self.model")

    def _inputs(self, prompts: Any, settings: Settings) -> tuple[list[str], Any]:
        """The prompts, and their tokens. CannotRun for what cannot work, before weights are read if they were not."""
        listed = [prompts] if isinstance(prompts, str) else list(prompts)
        check_prompts(listed)
        self._check_mode(settings)
        self._init_tokenizer()
        self._check_request(len(listed), settings)
        inputs = self.tokenize(listed, settings)
        if not self._overrides("_generate_params"):  # else its parameters count, when they are known
            model_class, config = self.model_class, self._config
            if self.model is not None:
                model_class, config = type(self.model), self.model.config
            check_room(model_class, config, inputs["input_ids"].shape[1], settings.max_new_tokens)
        return listed, inputs

    def _init_tokenizer(self) -> None:
        """Of a model that a user's `init_model` loaded, nothing is asked of the checkpoint."""
        if self.tokenizer is not None:
            return
        if self.model is None:
            self._config = check_checkpoint(self._folder, self.model_class, self.settings.dtype)
            self.ranks.check(self.model_class, self._folder, self._config, self.model_name, self.settings.models)
        self.tokenizer = self.generate_tokenizer()

    def _check_request(self, batch: int, settings: Settings) -> None:
        """What the generation config asks for, and whether there is room for it; before weights are read."""
        own = self.model.generation_config if self.model is not None else stored_generation(self._folder)
        check_ways(own, compiled=self.execute_mode == "dynamo")
        config = self._config if self.model is None else self.model.config
        check_positions(config, settings)
        self._kept.check(config, settings, batch, self.device)

    def _check_mode(self, settings: Settings) -> None:
        if self.execute_mode == "eager":
            return
        choose_backend(settings.backend, self.device)
        model_class = self.model_class if self.model is None else type(self.model)
        if not issubclass(model_class, NpuPreTrainedModel):
            raise keeps_its_cache(self.model_name, "set execute_mode to `eager`")

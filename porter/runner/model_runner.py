"""Runs a ported model on prompts: what users of the hand ports already write.

    runner = LlmModelRunner("llama2", model_path, input_padding=True, dtype=torch.float16, max_new_tokens=64)
    runner.execute_mode = "eager"
    runner.set_npu_config(jit_compile=False)
    answers = runner.execute_model(["Once upon a time"])

Contract: the model is the registry's, the checkpoint is unchanged, batches are padded on the left, and tokens are those
of transformers' `generate()` on the same inputs. Whatever cannot work raises before weights are read. Each step of
`execute_model` is a method to override: load_tokenizer, load_model, tokenize, generate, decode, report.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LogitsProcessorList

from porter.runner.answers import Answer, Answers
from porter.runner.checkpoint import check_checkpoint
from porter.runner.clock import StepClock
from porter.runner.refusal import CannotRun
from porter.runner.settings import Settings, choose_device, from_environment
from porter.runtime import NpuPreTrainedModel, StaticKVCache, UnknownModel, left_pad, load_model_class

logger = logging.getLogger("porter.runner")

MODES = ("eager", "dynamo")


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
        self.model_class = self._find_class()
        self.device = choose_device(self.settings.device)
        self.tokenizer: Any = None
        self.model: Any = None
        self._cache: StaticKVCache | None = None
        self._cache_shape = (0, 0)  # batch, slots
        self._warm = False

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
        if self.execute_mode != "eager":
            raise NotImplementedError(f"execute_mode {self.execute_mode!r} does not run yet: set it to 'eager'")
        check_checkpoint(self.model_path, self.model_class)
        self.tokenizer = self.load_tokenizer()
        self.model = self.load_model()

    def execute_model(self, prompts: str | Sequence[str], **config: Any) -> Answers:
        """Answer the prompts as one batch; `config` changes settings for this call. Raises CannotRun for bad prompts.

        A model that is loaded keeps its dtype, device and registry: other ones here are a ValueError.
        """
        settings = self._settings_of_call(config)
        listed = [prompts] if isinstance(prompts, str) else list(prompts)
        _check_prompts(listed)
        self.init_model()
        inputs = self.tokenize(listed, settings)
        if settings.warm_up and not self._warm:
            self.generate(inputs, settings, steps=min(2, settings.max_new_tokens))
        self._warm = True
        clock = StepClock()
        tokens = self.generate(inputs, settings, clock)
        answers = Answers(self.decode(listed, tokens), clock.prefill_ms, clock.ms_per_token)
        self.report(answers)
        return answers

    # -- single steps

    def load_tokenizer(self) -> Any:
        """The checkpoint's own tokenizer."""
        try:
            return AutoTokenizer.from_pretrained(self.model_path)
        except Exception as error:  # tokenizers raises no narrower one
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            message = f"the tokenizer in `{self.model_path}` does not load: {first}"
            raise CannotRun("P082", message, "download the tokenizer's files again") from error

    def load_model(self) -> Any:
        """The ported model with the checkpoint's weights, on the device, in eval mode."""
        dtype = "auto" if self.settings.dtype is None else self.settings.dtype
        return self.model_class.from_pretrained(self.model_path, dtype=dtype).to(self.device).eval()

    def tokenize(self, prompts: list[str], settings: Settings) -> dict[str, torch.Tensor]:
        """input_ids and attention_mask (B, S) on the device: S is input_max_len with padding, else the longest."""
        rows = [self.tokenizer(prompt)["input_ids"] for prompt in prompts]
        for index, row in enumerate(rows):
            if not row:
                raise CannotRun("P085", f"prompt {index} has no tokens: {prompts[index]!r}", "write something")
            if len(row) > settings.input_max_len:
                message = f"prompt {index} has {len(row)} tokens, input_max_len is {settings.input_max_len}"
                raise CannotRun("P085", message, "raise input_max_len, or shorten the prompt")
        width = settings.input_max_len if settings.input_padding else None
        input_ids, attention_mask = left_pad(rows, self._pad_token_id(), width)
        return {"input_ids": input_ids.to(self.device), "attention_mask": attention_mask.to(self.device)}

    def generate(
        self,
        inputs: dict[str, torch.Tensor],
        settings: Settings,
        clock: StepClock | None = None,
        steps: int | None = None,
    ) -> torch.Tensor:
        """New tokens (B, at most `steps` or max_new_tokens); rows that stopped early end in padding tokens."""
        asked = {name: getattr(settings, name) for name in ("do_sample", "temperature", "top_k", "top_p")}
        chosen = {name: value for name, value in asked.items() if value is not None}
        batch, length = inputs["input_ids"].shape
        if issubclass(self.model_class, NpuPreTrainedModel):
            chosen["past_key_values"] = self._cache_for(batch, length + settings.max_new_tokens)
        if settings.seed is not None:
            torch.manual_seed(settings.seed)
        tokens = self.model.generate(
            **inputs,
            **chosen,
            max_new_tokens=steps or settings.max_new_tokens,
            pad_token_id=self._pad_token_id(),
            logits_processor=LogitsProcessorList([clock] if clock is not None else []),
        )
        return tokens[:, length:].cpu()

    def decode(self, prompts: list[str], tokens: torch.Tensor) -> tuple[Answer, ...]:
        """Tokens (B, new) -> answers, each cut behind the token that stopped it."""
        stops = self.model.generation_config.eos_token_id
        stops = {stops} if isinstance(stops, int) else set(stops or ())
        answers = []
        for prompt, row in zip(prompts, tokens.tolist(), strict=True):
            end = next((index + 1 for index, token in enumerate(row) if token in stops), len(row))
            text = self.tokenizer.decode(row[:end], skip_special_tokens=True)
            answers.append(Answer(prompt, text, tuple(row[:end])))
        return tuple(answers)

    def report(self, answers: Answers) -> None:
        """Log the answers and times, on rank 0 only."""
        if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank():
            return
        for answer in answers:
            logger.info("%s%s", answer.prompt, answer.text)
        each = "none" if answers.ms_per_token is None else f"{answers.ms_per_token:.2f} ms"
        logger.info("prefill %.2f ms, each further token %s", answers.prefill_ms, each)

    # -- helpers

    def _find_class(self) -> Any:
        try:
            return load_model_class(self.name, self.settings.models)
        except UnknownModel as error:
            raise CannotRun("P080", str(error), "convert the model first, or name another") from None

    def _settings_of_call(self, config: dict[str, Any]) -> Settings:
        settings = self.settings.updated(**config)
        for name in ("dtype", "device", "models"):
            if self.model is not None and getattr(settings, name) != getattr(self.settings, name):
                raise ValueError(f"the model is loaded: make a new runner for another {name}")
        if self.model is None:
            self.settings = settings
            self.device = choose_device(settings.device)
        return settings

    def _cache_for(self, batch: int, slots: int) -> StaticKVCache:
        """One cache, allocated once for each shape and emptied between calls."""
        if self._cache is None or self._cache_shape != (batch, slots):
            self._cache = None  # the old one is free before the new one is made
            self._cache = StaticKVCache(self.model.config, max_cache_len=slots)
            self._cache_shape = (batch, slots)
        self._cache.reset()
        return self._cache

    def _pad_token_id(self) -> int:
        """Any token will do: the mask hides it."""
        for token in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        return 0


def _check_prompts(prompts: list[Any]) -> None:
    if not prompts:
        raise CannotRun("P085", "no prompts", "give at least one")
    for index, prompt in enumerate(prompts):
        if not isinstance(prompt, str) or not prompt:
            raise CannotRun("P085", f"prompt {index} is {prompt!r}", "a prompt is a text of at least one character")

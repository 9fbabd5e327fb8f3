"""The generation loop around compiled steps: what transformers' `generate()` calls in place of its own.

Contract: tokens are those of `GenerationMixin._sample` for the same inputs: the same logits processors and stopping
criteria, one draw a step from the same generator, padding behind a row's end. Greedy and sampling.
The mask covers all slots from the start, as causality hides what is not written, so no input changes its shape.
"""

from __future__ import annotations

from typing import Any

import torch

from porter.runner.graph import CompiledSteps
from porter.runtime import StaticKVCache, position_ids_from_mask


class CompiledLoop:
    """For one call of `generate(custom_generate=...)`.

    `attention_mask` (B, slots) on the device: 0 = padding, 1 = the prompts' tokens and all slots after them.
    `streamer` as for generate(), which must be given it too: it shows the prompts, and keeps it from other loops.
    """

    def __init__(
        self, steps: CompiledSteps, cache: StaticKVCache, attention_mask: torch.Tensor, streamer: Any = None
    ) -> None:
        self.steps, self.cache, self.attention_mask, self.streamer = steps, cache, attention_mask, streamer
        self.ran = False

    def __call__(
        self,
        model: Any,
        input_ids: torch.Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        **model_kwargs: Any,
    ) -> torch.Tensor:
        """input_ids (B, S) -> (B, S + new tokens)."""
        self.ran = True
        mask = self.attention_mask
        positions = position_ids_from_mask(mask[:, : input_ids.shape[1]])
        pads_ended = any(hasattr(criterion, "eos_token_id") for criterion in stopping_criteria)
        unfinished = torch.ones(input_ids.shape[0], dtype=torch.int64, device=input_ids.device)
        # a tensor of its own: marking its length dynamic must not follow it to the caller
        logits = self.steps.prefill(input_ids.clone(), mask, positions, self.cache)
        at = positions[:, -1:].clone()
        while True:
            scores = logits_processor(input_ids, logits.to(torch.float32, copy=True))
            tokens = _pick(scores, generation_config.do_sample)
            if pads_ended:
                tokens = tokens * unfinished + generation_config._pad_token_tensor * (1 - unfinished)
            input_ids = torch.cat([input_ids, tokens[:, None]], dim=-1)
            if self.streamer is not None:
                self.streamer.put(tokens.cpu())
            unfinished = unfinished & ~stopping_criteria(input_ids, None)
            if not unfinished.any():
                break
            at = at + 1
            logits = self.steps.decode(tokens[:, None], mask, at, self.cache)
        if self.streamer is not None:
            self.streamer.end()
        return input_ids


def _pick(scores: torch.Tensor, do_sample: bool) -> torch.Tensor:
    """Scores (B, vocabulary) -> tokens (B,)."""
    if not do_sample:
        return scores.argmax(dim=-1)
    return torch.multinomial(scores.softmax(dim=-1), num_samples=1).squeeze(1)

"""What a port declares that it can do, and the errors for what its source could and it cannot.

Contract: transformers, and tools on top of it, ask a model class by flags and plans. A port's file keeps the source's
text, so what no port can is taken back here, for every class of it, and asking all the same is one clear error, or a
warning where the result is the same.
"""

from __future__ import annotations

from typing import Any, NoReturn

from transformers import PreTrainedModel
from transformers.utils import logging

logger = logging.get_logger(__name__)


class InferenceOnly(PreTrainedModel):
    """No gradients, and no tensor parallelism by transformers' plans: they name projections that a port has merged."""

    withdrawn: tuple[str, ...] = ("supports_gradient_checkpointing",)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in cls.withdrawn:
            if vars(cls).get(name):
                setattr(cls, name, False)

    def post_init(self) -> None:  # where each release makes the plans, of the configuration and of what is inside
        super().post_init()
        self._tp_plan: dict[str, str] = {}
        self._ep_plan: dict[str, str] = {}


class OneAttention(InferenceOnly):
    """Attention is computed in one way, on one kind of cache."""

    withdrawn = (
        *InferenceOnly.withdrawn,
        "_supports_flash_attn",
        "_supports_flash_attn_2",
        "_supports_flex_attn",
        "_supports_attention_backend",  # its attention does not go through the interface, nor take paged caches
        "_supports_context_parallel",
        "_can_compile_fullgraph",  # of transformers' StaticCache: a port has its own, and the runner compiles
    )

    def _check_and_adjust_attn_implementation(self, attn_implementation: str | None, *args: Any, **kwargs: Any) -> str:
        _check_attention(attn_implementation, self._supports_sdpa)
        return str(super()._check_and_adjust_attn_implementation(attn_implementation, *args, **kwargs))

    def set_attn_implementation(self, attn_implementation: Any, *args: Any, **kwargs: Any) -> None:
        """ValueError for another one than the port has, a warning for `eager` beside sdpa; nothing changes."""
        asked = attn_implementation.values() if isinstance(attn_implementation, dict) else [attn_implementation]
        for one in asked:
            _check_attention(one, self._supports_sdpa)

    def init_continuous_batching(self, *args: Any, **kwargs: Any) -> NoReturn:
        """ValueError: so are `generate_batch`, and `generate(cache_implementation="paged")`, which end here."""
        raise ValueError(
            "continuous batching keeps a paged cache, which a port's attention does not read: use generate(), or the "
            "source model"
        )

    generate_batch = continuous_batching_context_manager = init_continuous_batching


def _check_attention(asked: Any, beside_sdpa: bool) -> None:
    """A source that has its eager attention alone is asked for that by default."""
    if asked not in (None, "sdpa", "eager"):
        raise ValueError(
            f"attn_implementation={asked!r}: a port computes attention in the one way that its file shows. Leave it "
            "out, or use the source model"
        )
    if asked == "eager" and beside_sdpa:
        logger.warning_once(
            "attn_implementation='eager' changes nothing: a port computes attention in the one way that its file "
            "shows, which gives the same states and no attention weights"
        )

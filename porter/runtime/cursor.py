"""Where the next step writes: one count on the host, one `positions` tensor on the device, shared by all layers.

Contract: `positions` (B,) int64 is the truth. In eager the host follows it with a Python int and never reads it. While
compiling, no host int is read or written, so a step neither recompiles nor waits; the one thing a compiled step leaves
behind is `ran_compiled`, and the next eager reader then asks the device once. A runner that drives compiled steps calls
`reserve` before each: that is host arithmetic only.

A step is over when the model's call is, whichever layers it has and in whatever order they write. Layers that are
called without their model begin a new step by writing a second time.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

BLOCK = 128  # slots: elastic caches are as long as a multiple of this


class CacheFull(ValueError):
    """A step needs more slots than the cache has. Raised before anything is written: the device checks no bounds."""

    def __init__(self, slots: int, used: int, asked: int) -> None:
        self.slots, self.used, self.asked = slots, used, asked
        super().__init__(
            f"the KV cache has {slots} slots, {used} of them in use: there is no room for {asked} more, and nothing "
            f"was written. Make it longer, StaticKVCache(config, max_cache_len={used + asked}), or the prompt shorter"
        )


def lasting() -> AbstractContextManager[None]:
    """Where memory of a cache is made: made in inference mode, it could not be written outside of it any more."""
    inference = torch.is_inference_mode_enabled() and not torch.compiler.is_compiling()
    return torch.inference_mode(False) if inference else nullcontext()


class Cursor:
    """The write position of a cache, and how many slots each layer has, or gets when it first holds states.

    `fixed`: outgrowing `slots` is an error. `sized`: somebody said how many slots there are to be, so that a compiled
    step, which cannot grow them, may rely on it. 0 slots: an elastic cache before its first step.
    """

    def __init__(self, max_cache_len: int | None) -> None:
        if max_cache_len is not None and max_cache_len < 1:
            raise ValueError(f"max_cache_len is the number of slots and at least 1, not {max_cache_len}")
        self.slots = max_cache_len or 0
        self.fixed = self.sized = max_cache_len is not None
        self.positions: torch.Tensor | None = None  # (B,) int64, on the device of the states
        self.numbers: torch.Tensor | None = None  # (slots,) int64, 0, 1, 2, ...: a step compares, and makes none anew
        self.length = 0  # tokens of all finished steps that ran in eager
        self.reserved = 0  # tokens promised to compiled steps since `length` was right
        self.ran_compiled = False
        self.written: tuple[int, ...] = ()  # layers that hold the states of the step under way
        self.pending = 0  # tokens of that step, not yet counted
        self.driven = False  # a model's call is under way
        self.vouched = 0  # tokens that every layer is known to hold: the host does not see compiled steps write

    def allocate(self, batch_size: int, device: torch.device) -> None:
        """Make `positions`; the first layer to hold states calls it."""
        if self.positions is None:
            self.positions = torch.zeros(batch_size, dtype=torch.int64, device=device)
        if self.numbers is None or self.numbers.shape[0] < self.slots:
            self.numbers = torch.arange(self.slots, device=device)

    def seen(self) -> int:
        """Tokens in the cache, on the host. Waits for the device only if compiled steps ran since the last call."""
        if self.ran_compiled or self.reserved:
            self.length = 0 if self.positions is None else int(self.positions[0])
            self.reserved, self.ran_compiled = 0, False
            self.vouched = self.length
        return self.length

    def seen_on_device(self) -> torch.Tensor | int:
        """Tokens in the cache as a 0-d tensor: what a traced step counts with. 0 before the first step."""
        return 0 if self.positions is None else self.positions[0]

    def check_room(self, asked: int) -> int:
        """The position the next `asked` tokens start at. Raises CacheFull where a fixed cache is too short for them."""
        start = self.seen()
        if self.fixed and start + asked > self.slots:
            raise CacheFull(self.slots, start, asked)
        return start

    def reserve(self, asked: int) -> int:
        """Like `check_room`, for a step about to run compiled: counts it on the host without reading the device."""
        if self.ran_compiled and not self.reserved:
            self.seen()  # compiled steps ran that nobody reserved
        start = self.length + self.reserved
        if self.sized and start + asked > self.slots:
            raise CacheFull(self.slots, start, asked)
        self.reserved += asked
        return start

    def capacity(self, asked: int) -> int:
        """Slots there are once `asked` more tokens are in. Elastic caches at least double."""
        if self.fixed:
            return self.slots
        needed = max(asked if torch.compiler.is_compiling() else self.seen() + asked, 1)
        return self.slots if needed <= self.slots else max(2 * self.slots, BLOCK * -(-needed // BLOCK))

    def make_room(self, asked: int) -> int:
        """`capacity`, from now on."""
        slots = self.capacity(asked)
        if slots != self.slots:
            self.slots = slots
        return slots

    def begin(self) -> None:
        """A model's call begins."""
        self.finish()
        self.driven = True

    def turn_of(self, layer: int) -> None:
        """Layer `layer` is about to write. ValueError where it has written in this step."""
        if layer in self.written:
            if self.driven:
                raise ValueError(
                    f"two layers write to place {layer} of the KV cache in one step: give every attention layer a "
                    "layer_idx of its own"
                )
            self.finish()

    def wrote(self, layer: int, steps: int) -> None:
        self.written, self.pending = (*self.written, layer), steps

    def finish(self) -> None:
        """The step under way is over: its tokens count. Nothing where none is."""
        self.driven = False
        if not self.written:
            return
        steps, self.written, self.pending = self.pending, (), 0
        assert self.positions is not None
        self.positions.add_(steps)
        if torch.compiler.is_compiling():
            self.ran_compiled = True
        else:
            self.length += steps

    def settle(self) -> None:
        """As `finish`, but for layers that are called without their model: a mask is made, so a new step begins."""
        if not self.driven:
            self.finish()

    def abandon(self) -> None:
        """The step under way broke off: the next one is written over it."""
        self.written, self.pending, self.driven = (), 0, False

    def move(self, length: int) -> None:
        """Make `length` the number of tokens in the cache, on both sides."""
        self.vouched = length if length > self.length else min(self.vouched, length)
        self.length, self.reserved, self.ran_compiled = length, 0, False
        self.abandon()
        if self.positions is not None:
            self.positions.fill_(length)

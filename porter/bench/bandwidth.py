"""What a decode step has to read, against what the memory can give: the floor under its time.

Contract: of a dense model. A step of one token a sequence reads every weight once, but for the embedding table, of
which it reads a row a sequence, and the keys and values of every position so far; that a compiled step reads the slots
behind them too is its loss. Bandwidth is what a copy moves, read and written, on the device at hand; a model that fits
the processor's cache can exceed it.
"""

from __future__ import annotations

import time

import torch
from torch import nn

from porter.runner.clock import wait_for

_COPIED = 1 << 28  # bytes: beyond the caches of processors and cards
_ROUNDS = 6  # the first warms up


def copy_bandwidth(device: torch.device, size: int = _COPIED) -> float:
    """Bytes a second, read and written, of the quickest copy of `size` bytes."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    quickest = min(_seconds(source, target) for _ in range(_ROUNDS))
    return 2 * size / quickest


def _seconds(source: torch.Tensor, target: torch.Tensor) -> float:
    wait_for(source.device)
    started = time.perf_counter()
    target.copy_(source)
    wait_for(source.device)
    return time.perf_counter() - started


def bytes_of_a_step(model: nn.Module, batch: int, length: int, kv_size: int) -> int:
    """Bytes that one decode step reads with `length` positions cached; `kv_size` bytes of K and V a position, all
    layers."""
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    weights = {parameter.data_ptr(): parameter.nbytes for parameter in model.parameters()}
    if embedding.data_ptr() != head.data_ptr():
        weights[embedding.data_ptr()] = batch * embedding[0].nbytes
    return sum(weights.values()) + batch * length * kv_size

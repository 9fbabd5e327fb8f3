"""One call of npu_fused_infer_attention_score: its arguments by the names of the field, and what the device demands
of them.

Values of lengths and paddings are not looked at here: in a graph they may be known only when it runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch

from porter.npu.chip import A2, A3, check_chip
from porter.npu.contract import (
    HALF_OR_FLOAT,
    ContractError,
    Size,
    check_dtype,
    check_rank,
    check_same_dtype,
    same_sizes,
    shape,
    violated,
)
from porter.npu.once import once_a_signature

OP = "npu_fused_infer_attention_score"
NO_LIMIT = 2147483647
COMPRESSED = 2048  # side of the mask that sparse modes 2, 3 and 4 take
LEFT_UP_CAUSAL, RIGHT_DOWN_CAUSAL, BAND = 2, 3, 4
LAYOUTS = ("BSH", "BSND", "BNSD", "BNSD_BSND", "TND")


@dataclass(frozen=True)
class Call:
    """Names and defaults are the schema's; what the schema has beyond them is not computed here."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    pse_shift: torch.Tensor | None = None
    atten_mask: torch.Tensor | None = None
    actual_seq_lengths: Sequence[int] | None = None
    actual_seq_lengths_kv: Sequence[int] | None = None
    query_padding_size: torch.Tensor | None = None
    kv_padding_size: torch.Tensor | None = None
    query_rope: torch.Tensor | None = None
    key_rope: torch.Tensor | None = None
    num_heads: int = 1
    scale: float = 1.0
    pre_tokens: int = NO_LIMIT
    next_tokens: int = NO_LIMIT
    input_layout: str = "BSH"
    num_key_value_heads: int = 0
    sparse_mode: int = 0
    inner_precise: int = 0
    softmax_lse_flag: bool = False

    @property
    def kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_heads

    @property
    def ragged(self) -> bool:
        """TND: sequences end to end in one dimension, with cumulative lengths."""
        return self.input_layout == "TND"

    @cached_property
    def query_sizes(self) -> tuple[Size, Size, Size, Size]:
        """(B, S, N, D); TND counts as one batch row."""
        return self._sizes(self.query, self.num_heads)

    @cached_property
    def key_sizes(self) -> tuple[Size, Size, Size, Size]:
        return self._sizes(self.key, self.kv_heads)

    def _sizes(self, tensor: torch.Tensor, heads: int) -> tuple[Size, Size, Size, Size]:
        if self.input_layout == "BSH":
            batch, length, hidden = tensor.shape
            return batch, length, heads, hidden // heads
        if self.input_layout == "BSND":
            batch, length, count, size = tensor.shape
        elif self.ragged:
            batch, (length, count, size) = 1, tensor.shape
        else:
            batch, count, length, size = tensor.shape
        return batch, length, count, size

    @property
    def has_rope(self) -> bool:
        """MLA: query and key in two parts, which `attention_latent` looks at."""
        return self.query_rope is not None or self.key_rope is not None

    @cached_property
    def decodes(self) -> bool:
        """One query position in every sequence: the device's decode path, which knows no sparse mode."""
        return not self.ragged and not self.has_rope and bool(self.query_sizes[1] == 1)

    @property
    def takes_full_mask(self) -> bool:
        return self.decodes or self.sparse_mode in (0, 1)


_COMPUTED = frozenset(field.name for field in fields(Call))
_SWITCHED_OFF = {"block_size": 0, "antiquant_mode": 0, "key_antiquant_mode": 0, "value_antiquant_mode": 0}


def read(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options: Any) -> Call:
    """The call as the dispatcher hands it on, checked. Raises ContractError."""
    computed = {name: passed for name, passed in options.items() if name in _COMPUTED}
    for name in options.keys() - computed.keys():
        passed = options[name]
        if passed is None or passed == _SWITCHED_OFF.get(name):
            continue
        got = f"a tensor {shape(passed)}" if isinstance(passed, torch.Tensor) else passed
        raise ContractError(OP, name, "is not computed by this CPU kernel: leave it at its default", got)
    call = Call(query, key, value, **computed)
    _check_once(*vars(call).values())
    return call


@once_a_signature
def _check_once(*values: Any) -> None:
    check(Call(*values))


def check(call: Call) -> None:
    """Raises ContractError for the first limit that the call breaks."""
    check_chip(OP, (A2, A3))
    check_dtype(OP, "query", call.query, HALF_OR_FLOAT)
    check_same_dtype(OP, "key", call.key, "query", call.query.dtype)
    check_same_dtype(OP, "value", call.value, "query", call.query.dtype)
    if call.input_layout not in LAYOUTS:
        raise ContractError(
            OP, "input_layout", f"must be one that this CPU kernel computes, {LAYOUTS}", call.input_layout
        )
    rank = 3 if call.input_layout in ("BSH", "TND") else 4
    for name, tensor in (("query", call.query), ("key", call.key), ("value", call.value)):
        check_rank(OP, name, tensor, rank, rank)
    _check_heads(call)
    _check_sizes(call)
    if call.ragged:
        _check_ragged(call)
    _check_modes(call)
    if call.atten_mask is not None:
        _check_mask(call, call.atten_mask)
    if call.pse_shift is not None:
        _check_shift(call, call.pse_shift)


def _check_heads(call: Call) -> None:
    heads, kv_heads = call.num_heads, call.kv_heads
    if not 1 <= heads <= 256:
        raise ContractError(OP, "num_heads", "must be 1 to 256", heads)
    if kv_heads < 1 or heads % kv_heads or (heads // kv_heads > 64 and not call.has_rope):
        limit = f"must divide num_heads ({heads}), at most 64 query heads to one"
        raise ContractError(OP, "num_key_value_heads", limit, kv_heads)
    for name, tensor, found, count in (
        ("query", call.query, call.query_sizes[2], heads),
        ("key", call.key, call.key_sizes[2], kv_heads),
    ):
        if violated(found == count) or (call.input_layout == "BSH" and violated(tensor.shape[-1] % count == 0)):
            raise ContractError(OP, name, f"must have {count} heads in layout {call.input_layout}", shape(tensor))


def _check_sizes(call: Call) -> None:
    batch, length, _, size = call.query_sizes
    kv_batch, kv_length, _, kv_size = call.key_sizes
    common = 2 if call.ragged else 4  # TND may have a smaller D in value
    if not same_sizes(call.value.shape[:common], call.key.shape[:common]):
        raise ContractError(OP, "value", f"must have the shape of key {shape(call.key)}", shape(call.value))
    if violated(kv_batch == batch) or violated(kv_size == size):
        raise ContractError(OP, "key", f"must have B and D of query {shape(call.query)}", shape(call.key))
    if violated(size <= 512) or violated(size % 8 == 0):
        # In bytes of the 16-bit types: float32, for proofs, stands in for one of them.
        raise ContractError(OP, "query", "must have D <= 512 that fills 16-byte blocks (D % 8 == 0)", f"D={size}")
    if violated(batch <= 65536):
        raise ContractError(OP, "query", "must have B <= 65536", f"B={batch}")
    if call.decodes:
        if violated(kv_length <= 262144):
            raise ContractError(OP, "key", "must have S <= 262144 where query has one position", f"S={kv_length}")
        return
    if violated(batch <= 128) and violated(size % 16 == 0):
        raise ContractError(OP, "query", "must have B <= 128 where D does not fill 32-byte blocks", f"B={batch}")
    if violated(length <= 20971520) or violated(kv_length <= 20971520):
        raise ContractError(OP, "query", "and key must have S <= 20971520", f"S={length} and {kv_length}")


def _check_ragged(call: Call) -> None:
    if call.actual_seq_lengths is None or call.actual_seq_lengths_kv is None:
        raise ContractError(OP, "actual_seq_lengths", "and actual_seq_lengths_kv are required in layout TND", None)
    count, kv_count = len(call.actual_seq_lengths), len(call.actual_seq_lengths_kv)
    if not 1 <= count <= 4096 or count != kv_count:
        limit = "and actual_seq_lengths_kv must have one entry a sequence, 1 to 4096"
        raise ContractError(OP, "actual_seq_lengths", limit, f"{count} and {kv_count}")
    size, value_size = call.query.shape[-1], call.value.shape[-1]
    allowed = ((128, 128), (512, 512)) if call.has_rope else ((128, 128), (192, 128), (192, 192))
    if (size, value_size) not in allowed:
        limit = "must have D of query and value 128 and 128, 192 and 128, or 192 and 192 in layout TND"
        raise ContractError(OP, "query", limit, f"{size} and {value_size}")
    if call.query_padding_size is not None or call.kv_padding_size is not None:
        raise ContractError(OP, "input_layout", "must not be TND with left padding", call.input_layout)
    if call.sparse_mode not in (0, RIGHT_DOWN_CAUSAL, BAND) or (call.sparse_mode == 0 and call.atten_mask is not None):
        raise ContractError(OP, "sparse_mode", "must be 3 or 4, or 0 without a mask, in layout TND", call.sparse_mode)


def _check_modes(call: Call) -> None:
    if call.inner_precise not in ((0, 1) if call.decodes else (0, 1, 2, 3)):
        limit = "must be 0 to 3, and 0 or 1 where query has one position"
        raise ContractError(OP, "inner_precise", limit, call.inner_precise)
    if call.decodes:
        return
    if call.sparse_mode not in range(5):
        raise ContractError(OP, "sparse_mode", "must be 0 to 4", call.sparse_mode)
    if call.sparse_mode != 0 and call.atten_mask is None:
        raise ContractError(OP, "atten_mask", f"is required with sparse_mode {call.sparse_mode}", None)
    banded = call.sparse_mode == BAND or (call.sparse_mode == 0 and call.atten_mask is not None)
    if banded and call.pre_tokens + call.next_tokens < 0:
        limit = "must not end before pre_tokens begin: next_tokens >= -pre_tokens"
        raise ContractError(OP, "next_tokens", limit, f"{call.next_tokens} with pre_tokens {call.pre_tokens}")


def _check_mask(call: Call, mask: torch.Tensor) -> None:
    check_dtype(OP, "atten_mask", mask, (torch.bool, torch.int8, torch.uint8))
    if not call.takes_full_mask:
        leading, square = mask.shape[:-2], mask.shape[-2:]
        if tuple(square) != (COMPRESSED, COMPRESSED) or tuple(leading) not in ((), (1,), (1, 1)):
            limit = f"must be triu(ones(2048, 2048), 1) with sparse_mode {call.sparse_mode}"
            raise ContractError(OP, "atten_mask", limit, shape(mask))
        return
    batch, length, _, _ = call.query_sizes
    kv_length = call.key_sizes[1]
    forms = "(B, KV_S), (B, 1, KV_S) or (B, 1, 1, KV_S) where query has one position (sparse_mode is ignored there)"
    if call.decodes:
        fits = mask.dim() in (2, 3, 4) and not violated(mask.shape[0] == batch)
        fits = fits and not any(violated(size == 1) for size in mask.shape[1:-1])
    else:
        forms = "(Q_S, KV_S), (1 or B, Q_S, KV_S) or (1 or B, 1, Q_S, KV_S)"
        fits = mask.dim() in (2, 3, 4) and not violated(mask.shape[-2] >= length)
        fits = fits and (mask.dim() == 2 or bool(mask.shape[0] == 1) or not violated(mask.shape[0] == batch))
        fits = fits and (mask.dim() < 4 or not violated(mask.shape[1] == 1))
    if not fits or violated(mask.shape[-1] >= kv_length):
        limit = f"must be {forms}, with B={batch}, Q_S={length}, KV_S={kv_length} or longer"
        raise ContractError(OP, "atten_mask", limit, shape(mask))


def _check_shift(call: Call, shift: torch.Tensor) -> None:
    check_same_dtype(OP, "pse_shift", shift, "query", call.query.dtype)
    if call.ragged:
        raise ContractError(OP, "pse_shift", "must not be given in layout TND", shape(shift))
    if call.query_padding_size is not None or call.kv_padding_size is not None:
        limit = "with left padding is not computed by this CPU kernel: leave one of them out"
        raise ContractError(OP, "pse_shift", limit, shape(shift))
    batch, length, heads, size = call.query_sizes
    kv_length = call.key_sizes[1]
    fits = shift.dim() == 4 and (bool(shift.shape[0] == 1) or not violated(shift.shape[0] == batch))
    fits = fits and not violated(shift.shape[1] == heads) and not violated(shift.shape[3] >= kv_length)
    if not fits or violated(shift.shape[2] == 1 if call.decodes else shift.shape[2] >= length):
        limit = f"must be (1 or B, N, Q_S, KV_S), with B={batch}, N={heads}, Q_S={length}, KV_S={kv_length} or longer"
        raise ContractError(OP, "pse_shift", limit, shape(shift))
    if not shift.is_contiguous():
        raise ContractError(OP, "pse_shift", "must be contiguous", f"strides {shift.stride()}")
    if call.decodes and violated(size % 16 == 0):
        limit = "must have D % 16 == 0 where query has one position and there is a pse_shift"
        raise ContractError(OP, "query", limit, f"D={size}")

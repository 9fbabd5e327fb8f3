"""Attention over a KV cache: npu_fused_infer_attention_score."""

from collections.abc import Sequence
from typing import Any

import torch

from porter.npu.attention_contract import OP, Call, read
from porter.npu.attention_latent import without_rope
from porter.npu.attention_product import attend, attend_once_summed, attend_shifted, log_sum_exp
from porter.npu.attention_step import step
from porter.npu.attention_window import Span, band, check_polarity, kept, ragged_spans, shift_at, spans
from porter.npu.registry import Op


def npu_fused_infer_attention_score(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    atten_mask: torch.Tensor | None = None,
    actual_seq_lengths_kv: Sequence[int] | None = None,
    num_heads: int = 1,
    num_key_value_heads: int = 0,
    scale: float = 1.0,
    input_layout: str = "BSH",
    **others: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`softmax(scale * query @ key.T + pse_shift, masked) @ value` with grouped heads: returns (out, log-sum-exp).

    query, key, value: one dtype, float16 or bfloat16; **float32 is accepted here only, for proofs: the device refuses
    it**. input_layout: BSH, BSND, BNSD, BNSD_BSND (out in BSND), or TND with cumulative lengths. num_key_value_heads
    0 means num_heads. D <= 512 and a multiple of 8, num_heads <= 256, at most 64 query heads to a key head. Views are
    fine.

    atten_mask: bool, int8 or uint8, **True or 1 = not computed**, the reverse of SDPA's. sparse_mode 0: a full mask,
    and pre_tokens / next_tokens count from the upper left corner (without a mask, or with left padding, they do
    nothing); 1: a full mask alone; 2: causal from the upper left; 3: causal from the lower right; 4: a band from the
    lower right. Modes 2 to 4 take triu(ones(2048, 2048), 1), whatever the lengths are. With one query position
    sparse_mode, both token counts and actual_seq_lengths are ignored, and a mask is a full one with a row for every
    sequence. A mask may be longer than the lengths.

    pse_shift: what ALiBi adds to the **scaled** scores, as pse_type 0 of the graph's node does; query's dtype,
    contiguous, (1 or B, N, Q_S, KV_S), longer ones are cut; not in TND, and D % 16 == 0 with one query position. Not
    seen on a device.

    Positions from actual_seq_lengths_kv on are never read. With a padding size beside its lengths a sequence is
    right-aligned, that many positions before the end. Query positions outside the actual length, and query rows that
    see no key at all, are **zeros here** with a log-sum-exp of -inf; the device leaves the latter undefined in modes
    0 and 1.

    query_rope, key_rope: the rope parts of MLA, contiguous, 64 wide, otherwise shaped as query and key; their product
    is added to that of query and key. D is 128, or 512 with one key head, num_heads a power of two up to 128, without a
    log-sum-exp. **With D 512 there is no full mask**: one query position takes none (or sparse_mode 4), several take
    sparse_mode 3 or 4, so lengths alone say what is read and nothing may be padded on the left. The documentation shows
    D 512 on a cache that is not paged; the public CANN source of November 2025 takes a paged one alone.

    The log-sum-exp is float32, (B, N, S, 1) or (T, N, 1), and has no elements unless softmax_lse_flag is set.
    Raises ContractError for what the torch_npu op documentation forbids, for chips other than A2 and A3, and for what
    this kernel does not compute: paged and quantised caches, shared prefixes, pse_shift and padding.
    """
    if input_layout == "BSND" and not others:
        out = step(query, key, value, atten_mask, actual_seq_lengths_kv, num_heads, num_key_value_heads, scale)
        if out is not None:
            return out, query.new_empty(0, dtype=torch.float32)
    call = read(
        query,
        key,
        value,
        atten_mask=atten_mask,
        actual_seq_lengths_kv=actual_seq_lengths_kv,
        num_heads=num_heads,
        num_key_value_heads=num_key_value_heads,
        scale=scale,
        input_layout=input_layout,
        **others,
    )
    call = without_rope(call)
    check_polarity(call)
    out, lse = _attend_ragged(call) if call.ragged else _in_layout(call, *_attend_rows(call))
    return out.contiguous(), query.new_empty(0, dtype=torch.float32) if lse is None else lse


def _in_layout(call: Call, out: torch.Tensor, lse: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(B, N, S, D) as the layout has it: a view."""
    if call.input_layout != "BNSD":
        out = out.transpose(1, 2)
    return out.flatten(2) if call.input_layout == "BSH" else out, lse


def _attend_rows(call: Call) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(B, N, S, D). Rows whose sequences lie at one place are computed together."""
    q = _heads_first(call.query, call.input_layout, call.num_heads)
    k = _heads_first(call.key, call.input_layout, call.kv_heads)
    v = _heads_first(call.value, call.input_layout, call.kv_heads)
    places = spans(call, q.shape[0], q.shape[2], k.shape[2])
    if len(places) == 1:
        return _attend_span(call, q, k, v, slice(None), *places[0])
    parts = []
    for index, place in enumerate(places):
        row = slice(index, index + 1)
        parts.append(_attend_span(call, q[row], k[row], v[row], row, *place))
    outs, lses = zip(*parts, strict=True)
    return torch.cat(outs), torch.cat(lses) if call.softmax_lse_flag else None


def _heads_first(tensor: torch.Tensor, layout: str, heads: int) -> torch.Tensor:
    """A view in (B, N, S, D)."""
    if layout == "BSH":
        tensor = tensor.unflatten(-1, (heads, -1))
    return tensor if layout.startswith("BNSD") else tensor.transpose(1, 2)


def _attend_span(
    call: Call, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rows: slice, at: Span, kv_at: Span
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Some batch rows, whose sequences lie at the same place: (B, N, S, D), and zeros outside that place."""
    length, kv_length = q.shape[2], k.shape[2]
    keep, shift = kept(call, rows, at, kv_at, q.device), shift_at(call, rows, at, kv_at)
    if kv_at != (0, kv_length):
        k, v = k[:, :, kv_at[0] : kv_at[1]], v[:, :, kv_at[0] : kv_at[1]]
    if at == (0, length):
        return _attend(call, q, k, v, keep, shift)
    out, lse = _attend(call, q[:, :, at[0] : at[1]], k, v, keep, shift)
    around = (0, 0, at[0], length - at[1])
    if lse is not None:
        lse = torch.nn.functional.pad(lse, around, value=float("-inf"))
    return torch.nn.functional.pad(out, around), lse


def _attend(
    call: Call,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    keep: torch.Tensor | None,
    shift: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The product, and its log-sum-exp where it is asked for; also of nothing."""
    if k.shape[2] == 0 or q.shape[2] == 0:
        lse = q.new_full((*q.shape[:3], 1), float("-inf"), dtype=torch.float32) if call.softmax_lse_flag else None
        return q.new_zeros(*q.shape[:3], v.shape[-1]), lse
    if call.softmax_lse_flag and shift is None and q.shape[2] == 1 and q.dtype is torch.float32:
        # 16-bit caches would be copied in float32, values too, where attention reads them as they are
        return attend_once_summed(q, k, v, keep, call.scale)
    lse = log_sum_exp(q, k, keep, call.scale, shift) if call.softmax_lse_flag else None
    if shift is not None:
        return attend_shifted(q, k, v, keep, call.scale, shift), lse
    return attend(q, k, v, keep, call.scale), lse


def _attend_ragged(call: Call) -> tuple[torch.Tensor, torch.Tensor | None]:
    out = call.query.new_zeros(*call.query.shape[:2], call.value.shape[-1])
    lse = None
    if call.softmax_lse_flag:
        lse = out.new_full((*out.shape[:2], 1), float("-inf"), dtype=torch.float32)
    for at, kv_at in ragged_spans(call):
        here, there = slice(*at), slice(*kv_at)
        q, k, v = (  # (1, N, S, D)
            tensor.transpose(0, 1)[None] for tensor in (call.query[here], call.key[there], call.value[there])
        )
        part, part_lse = _attend(call, q, k, v, band(call, q.shape[2], k.shape[2], q.device))
        out[here] = part[0].transpose(0, 1)
        if lse is not None and part_lse is not None:
            lse[here] = part_lse[0].transpose(0, 1)
    return out, lse


def _fake_fused_infer_attention_score(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    call = read(query, key, value, **options)
    without_rope(call)
    batch, length, heads, size = call.query_sizes
    if call.ragged:
        out, lse = [length, heads, value.shape[-1]], [length, heads, 1]
    else:
        out, lse = [batch, length, heads, size], [batch, heads, length, 1]
    if call.input_layout == "BNSD":
        out = [batch, heads, length, size]
    if call.input_layout == "BSH":
        out = list(query.shape)
    return query.new_empty(out), query.new_empty(lse if call.softmax_lse_flag else [0], dtype=torch.float32)


OPS = (
    Op(
        f"{OP}(Tensor query, Tensor key, Tensor value, *, Tensor? pse_shift=None, Tensor? atten_mask=None, "
        "SymInt[]? actual_seq_lengths=None, SymInt[]? actual_seq_lengths_kv=None, Tensor? dequant_scale1=None, "
        "Tensor? quant_scale1=None, Tensor? dequant_scale2=None, Tensor? quant_scale2=None, "
        "Tensor? quant_offset2=None, Tensor? antiquant_scale=None, Tensor? antiquant_offset=None, "
        "Tensor? key_antiquant_scale=None, Tensor? key_antiquant_offset=None, Tensor? value_antiquant_scale=None, "
        "Tensor? value_antiquant_offset=None, Tensor? block_table=None, Tensor? query_padding_size=None, "
        "Tensor? kv_padding_size=None, Tensor? key_shared_prefix=None, Tensor? value_shared_prefix=None, "
        "SymInt[]? actual_shared_prefix_len=None, Tensor? query_rope=None, Tensor? key_rope=None, "
        "Tensor? key_rope_antiquant_scale=None, int num_heads=1, float scale=1., int pre_tokens=2147483647, "
        'int next_tokens=2147483647, str input_layout="BSH", int num_key_value_heads=0, int sparse_mode=0, '
        "int inner_precise=0, int block_size=0, int antiquant_mode=0, int key_antiquant_mode=0, "
        "int value_antiquant_mode=0, bool softmax_lse_flag=False) -> (Tensor, Tensor)",
        npu_fused_infer_attention_score,
        _fake_fused_infer_attention_score,
    ),
)

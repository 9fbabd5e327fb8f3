"""What the device refuses is refused here, with the op, the argument, the limit and what was passed."""

import re

import pytest
import torch

from porter.npu import ContractError, chip, torch_npu

bf16, fp16, f32, f64 = torch.bfloat16, torch.float16, torch.float32, torch.float64
A2, ASCEND_950, ASCEND_310P = "Ascend910B", "Ascend950", "Ascend310P"


def t(*shape, dtype=f32):
    return torch.zeros(shape, dtype=dtype)


def norm(x, gamma):
    return lambda: torch_npu.npu_rms_norm(x, gamma)


def add(x1, x2, gamma):
    return lambda: torch_npu.npu_add_rms_norm(x1, x2, gamma)


def rotary(x, cos, sin=None, *more):
    return lambda: torch_npu.npu_rotary_mul(x, cos, cos if sin is None else sin, *more)


def apply(query, key, cos, *more):
    return lambda: torch_npu.npu_apply_rotary_pos_emb(query, key, cos, cos, *more)


def attend(q=(2, 3, 4, 16), kv=(2, 5, 2, 16), dtype=bf16, value=None, **options):
    options = {"num_heads": 4, "num_key_value_heads": 2, "input_layout": "BSND"} | options
    key = t(*kv, dtype=options.pop("kv_dtype", dtype))
    return lambda: torch_npu.npu_fused_infer_attention_score(
        t(*q, dtype=dtype), key, key if value is None else value, **options
    )


def tnd(lengths=(2, 4), kv_lengths=(2, 4), size=128, **options):
    return attend((4, 4, size), (4, 2, size), input_layout="TND", actual_seq_lengths=lengths,
                  actual_seq_lengths_kv=kv_lengths, **options)  # fmt: skip


def put(*arguments, op="scatter_update_", **options):
    return lambda: getattr(torch_npu, op)(*arguments, **options)


SQUARE = torch.ones(2048, 2048, dtype=torch.bool)
I2 = torch.zeros(2, dtype=torch.int64)
ND, CLIPPED = "npu_scatter_nd_update_", "npu_clipped_swiglu"

REFUSED = [
    # npu_rms_norm, npu_gemma_rms_norm
    (A2, norm(t(2, 8, dtype=f64), t(8, dtype=f64)), "torch.float16, torch.bfloat16, torch.float32, got torch.float64"),
    (A2, norm(t(2, 8), t(8, dtype=bf16)), "gamma must have the dtype of input (torch.float32), got torch.bfloat16"),
    (A2, norm(t(2, 8, dtype=bf16), t(8, dtype=fp16)), "have the dtype of input (torch.bfloat16), got torch.float16"),
    (A2, norm(t(2, 8), t(4)), "npu_rms_norm: gamma must have the trailing shape of input (2, 8), got (4,)"),
    (A2, norm(t(8), t(8)), "npu_rms_norm: input must have 2 to 8 dimensions, got 1 (8,)"),
    (A2, lambda: torch_npu.npu_gemma_rms_norm(t(2, 8), t(2, 2, 8)), "gamma must have the trailing shape"),
    (ASCEND_310P, norm(t(2, 32, dtype=bf16), t(32, dtype=bf16)), "input must not be torch.bfloat16 on Ascend310P"),
    (ASCEND_310P, norm(t(2, 32, dtype=fp16), t(32)), "gamma must have the dtype of input (torch.float16)"),
    (ASCEND_310P, norm(t(2, 8, dtype=fp16), t(8, dtype=fp16)), "rows of 32 bytes or more on Ascend310P, got (2, 8)"),
    # npu_add_rms_norm
    (A2, add(t(2, 8, dtype=bf16), t(2, 8, dtype=bf16), t(8)), "the dtype of x1 (torch.bfloat16), got torch.float32"),
    (A2, add(t(2, 8), t(2, 8, dtype=bf16), t(8)), "x2 must have the dtype of x1 (torch.float32), got torch.bfloat16"),
    (A2, add(t(2, 8), t(1, 8), t(8)), "npu_add_rms_norm: x2 must have the shape of x1 (2, 8), got (1, 8)"),
    (A2, add(t(0, 8), t(0, 8), t(8)), "npu_add_rms_norm: x1 must not be empty, got (0, 8)"),
    (ASCEND_310P, add(t(2, 8, dtype=bf16), t(2, 8, dtype=bf16), t(8, dtype=bf16)), "be torch.bfloat16 on Ascend310P"),
    # npu_swiglu
    (A2, put(t(2, 7), op="npu_swiglu"), "npu_swiglu: input must have an even size along dim -1, got (2, 7)"),
    (A2, put(t(4, 8).t(), op="npu_swiglu"), "npu_swiglu: input must be contiguous, got strides (1, 8)"),
    (A2, put(t(2, 8), 2, op="npu_swiglu"), "npu_swiglu: dim must be in [-2, 1], got 2"),
    (A2, put(t(0, 8), op="npu_swiglu"), "npu_swiglu: input must not be empty"),
    (A2, put(t(2, 8, dtype=f64), op="npu_swiglu"), "npu_swiglu: input must be one of"),
    # npu_gelu
    (A2, put(t(2, 8), op="npu_gelu", approximate="erf"), "npu_gelu: approximate must be none (erf) or tanh, got erf"),
    (A2, put(t(*[2] * 9), op="npu_gelu"), "npu_gelu: input must have 0 to 8 dimensions, got 9"),
    (A2, put(t(2, 8, dtype=f64), op="npu_gelu"), "npu_gelu: input must be one of"),
    (ASCEND_310P, put(t(2, 8, dtype=bf16), op="npu_gelu"), "input must not be torch.bfloat16 on Ascend310P"),
    # npu_geglu
    (A2, put(t(2, 7), op="npu_geglu"), "npu_geglu: input must have an even size along dim -1, got (2, 7)"),
    (A2, put(t(2, 8), -3, op="npu_geglu"), "npu_geglu: dim must be in [-2, 1], got -3"),
    (A2, put(t(2, 8), -1, 2, op="npu_geglu"), "npu_geglu: approximate must be 0 (erf) or 1 (tanh), got 2"),
    (A2, put(t(*[2] * 9), op="npu_geglu"), "npu_geglu: input must have 1 to 8 dimensions, got 9"),
    (A2, put(t(2, 8, dtype=f64), op="npu_geglu"), "npu_geglu: input must be one of"),
    (ASCEND_310P, put(t(2, 8, dtype=bf16), op="npu_geglu"), "input must not be torch.bfloat16 on Ascend310P"),
    # npu_clipped_swiglu
    (A2, put(t(2, 7), op=CLIPPED), "npu_clipped_swiglu: x must have an even size along dim -1, got (2, 7)"),
    (A2, put(t(8), op=CLIPPED), "npu_clipped_swiglu: x must have 2 to 8 dimensions, got 1 (8,)"),
    (A2, put(t(4, 8).t(), op=CLIPPED), "npu_clipped_swiglu: x must be contiguous, got strides (1, 8)"),
    (A2, put(t(2, 8, dtype=f64), op=CLIPPED), "npu_clipped_swiglu: x must be one of"),
    (A2, put(t(2, 8), op=CLIPPED, dim=2), "npu_clipped_swiglu: dim must be in [-2, 1], got 2"),
    (A2, put(t(2, 8), op=CLIPPED, limit=0.0), "npu_clipped_swiglu: limit must be over 0, got 0.0"),
    (A2, put(t(2, 8), op=CLIPPED, group_index=I2.int()), "npu_clipped_swiglu: group_index must be one of torch.int64"),
    (A2, put(t(2, 8), op=CLIPPED, group_index=I2[None]), "npu_clipped_swiglu: group_index must have 1 dimensions"),
    (ASCEND_310P, put(t(2, 8, dtype=fp16), op=CLIPPED), "the chip must be one of Ascend910B, Ascend910_93, Ascend950"),
    # npu_rotary_mul
    (A2, rotary(t(2, 3, 4, 896), t(2, 3, 1, 896)), "npu_rotary_mul: input must have an even D < 896, got D=896"),
    (A2, rotary(t(2, 3, 4, 15), t(2, 3, 1, 15)), "even D < 896, got D=15"),
    (A2, rotary(t(2, 3, 4, 16), t(2, 3, 1, 8)), "npu_rotary_mul: r1 must be 11SD, B1SD, BNSD; 1S1D"),
    (A2, rotary(t(2, 3, 4, 16), t(1, 3, 4, 16)), "for an input of (2, 3, 4, 16) in mode 'half', got (1, 3, 4, 16)"),
    (A2, rotary(t(2, 3, 4, 16), t(2, 3, 1, 16), t(1, 3, 1, 16)), "the shape of r1 (2, 3, 1, 16), got (1, 3, 1, 16)"),
    (A2, rotary(t(2, 3, 4, 16), t(3, 16)), "npu_rotary_mul: r1 must be"),
    (A2, rotary(t(2, 16), t(2, 16)), "npu_rotary_mul: input must have 3 to 4 dimensions, got 2 (2, 16)"),
    (A2, rotary(t(2, 3, 4, 16), t(2, 3, 1, 16, dtype=f64)), "npu_rotary_mul: r1 must be one of torch.float16"),
    (A2, rotary(t(2, 3, 4, 16), t(2, 3, 1, 16), t(2, 3, 1, 16).int()), "npu_rotary_mul: r2 must be one of"),
    (ASCEND_310P, rotary(t(2, 3, 4, 32, dtype=fp16), t(2, 3, 1, 32)), "of input (torch.float16), got torch.float32"),
    (A2, rotary(t(2, 3, 4, 16), t(2, 3, 1, 16), None, "interleave"), "an input of (2, 3, 4, 16) in mode 'interleave'"),
    (A2, rotary(t(2, 3, 4, 16), t(2, 3, 1, 16), None, "quarter"), "or 'interleave', 'half' on 310P, got 'quarter'"),
    (A2, rotary(t(1000, 2, 1, 2), t(1000, 2, 1, 2)[:1]), "input must have B < 1000 and N < 1000 (BSND), got"),
    (A2, rotary(t(50, 2, 20, 2), t(1, 2, 1, 2), None, "interleave"), "have B * N < 1000 (BSND), got (50, 2, 20, 2)"),
    (A2, rotary(t(2, 3, 4, 16), t(2, 3, 1, 16), None, "half", t(8, 16)), "rotate must be (D, D)"),
    (A2, rotary(t(9, 4, 16), t(9, 1, 16), None, "half", t(16, 16)), "have 4 dimensions where there is a rotate, got 3"),
    (A2, rotary(*(t(2, 3, 1, 16, dtype=bf16),) * 2, None, "half", t(16, 16)), "rotate must have the dtype of input"),
    (A2, rotary(t(2, 3, 4, 16, dtype=bf16), t(2, 3, 1, 16), None, "half", t(16, 16)), "r1 must have the dtype of"),
    (A2, rotary(t(2, 3, 4, 16), t(2, 3, 1, 16), None, "interleave", t(16, 16)), "(2, 3, 4, 16) in mode 'interleave'"),
    (ASCEND_950, rotary(t(2, 3, 4, 16), t(2, 3, 1, 16), None, "half", t(16, 16)), "is not supported on Ascend950"),
    (ASCEND_310P, rotary(t(2, 3, 4, 16), t(2, 3, 1, 16)), "D <= 128, a multiple of 32, on Ascend310P, got D=16"),
    (ASCEND_310P, rotary(t(2, 3, 4, 32), t(1, 3, 1, 32), None, "interleave"), "rotary_mode must be"),
    # npu_apply_rotary_pos_emb
    (A2, apply(t(2, 3, 4, 32), t(2, 3, 2, 32), t(2, 3, 1, 32)), "query must have D 64 or 128 on Ascend910B, got D=32"),
    (A2, apply(t(2, 3, 4, 64), t(2, 3, 2, 64), t(1, 3, 1, 64)), "of query (2, 3, 4, 64) with N = 1, got (1, 3, 1, 64)"),
    (A2, apply(t(2, 3, 4, 64), t(2, 4, 2, 64), t(2, 3, 1, 64)), "of query (2, 3, 4, 64) but for N, got (2, 4, 2, 64)"),
    (A2, apply(t(2, 4, 3, 64), t(2, 2, 3, 64), t(2, 1, 3, 64), "BNSD"), "of BSND, BSH, TND on Ascend910B, got 'BNSD'"),
    (A2, apply(t(2, 3, 4, 64), t(2, 3, 2, 64), t(2, 3, 1, 64), "BSND", "interleave"), "Ascend910B, got 'interleave'"),
    (A2, apply(t(2, 3, 4, 64, dtype=bf16), t(2, 3, 2, 64, dtype=bf16), t(2, 3, 1, 64)), "of query (torch.bfloat16)"),
    (ASCEND_310P, apply(*(t(2, 3, 1, 64, dtype=bf16),) * 3), "query must not be torch.bfloat16 on Ascend310P"),
    (ASCEND_950, apply(t(2, 3, 4, 1032), t(2, 3, 2, 1032), t(2, 3, 1, 1032)), "have an even D <= 1024, got D=1032"),
    # npu_fused_infer_attention_score
    (A2, attend(dtype=f64), "query must be one of torch.float16, torch.bfloat16, torch.float32, got torch.float64"),
    (A2, attend(kv_dtype=fp16), "key must have the dtype of query (torch.bfloat16), got torch.float16"),
    (ASCEND_310P, attend(dtype=fp16), "the chip must be one of Ascend910B, Ascend910_93, got Ascend310P"),
    (ASCEND_950, attend(), "the chip must be one of Ascend910B, Ascend910_93, got Ascend950"),
    (A2, attend((2, 3, 4, 12), (2, 5, 2, 12)), "D <= 512 that fills 16-byte blocks (D % 8 == 0), got D=12"),
    (A2, attend((2, 3, 4, 520), (2, 5, 2, 520)), "got D=520"),
    (A2, attend((129, 2, 4, 8), (129, 2, 2, 8)), "must have B <= 128 where D does not fill 32-byte blocks, got B=129"),
    (A2, attend(num_heads=3, num_key_value_heads=2), "must divide num_heads (3), at most 64 query heads to one, got 2"),
    (A2, attend((1, 2, 130, 8), (1, 2, 2, 8), num_heads=130), "at most 64 query heads to one, got 2"),
    (A2, attend((1, 2, 257, 8), (1, 2, 257, 8), num_heads=257, num_key_value_heads=0), "must be 1 to 256, got 257"),
    (A2, attend(num_heads=8), "query must have 8 heads in layout BSND, got (2, 3, 4, 16)"),
    (A2, attend((2, 3, 64), (2, 5, 30), input_layout="BSH", num_key_value_heads=4), "in layout BSH, got (2, 5, 30)"),
    (A2, attend(kv=(3, 5, 2, 16)), "key must have B and D of query (2, 3, 4, 16), got (3, 5, 2, 16)"),
    (A2, attend(value=t(2, 6, 2, 16, dtype=bf16)), "value must have the shape of key (2, 5, 2, 16), got (2, 6, 2, 16)"),
    (A2, attend(input_layout="SBH"), "input_layout must be one that this CPU kernel computes"),
    (A2, attend(input_layout="BSH"), "query must have 3 dimensions, got 4"),
    (A2, attend((1, 1, 4, 16), (1, 262145, 2, 16)), "S <= 262144 where query has one position, got S=262145"),
    (A2, attend(atten_mask=t(3, 5)), "must be one of torch.bool, torch.int8, torch.uint8, got torch.float32"),
    (A2, attend(atten_mask=t(3, 4, dtype=torch.bool)), "Q_S=3, KV_S=5 or longer, got (3, 4)"),
    (A2, attend(atten_mask=t(3, 3, 5, dtype=torch.bool)), "(Q_S, KV_S), (1 or B, Q_S, KV_S) or (1 or B, 1, Q_S, KV_S)"),
    (A2, attend(atten_mask=t(2, 4, 3, 5, dtype=torch.bool)), "got (2, 4, 3, 5)"),
    (A2, attend((2, 1, 4, 16), atten_mask=t(1, 5, dtype=torch.bool)), "one position (sparse_mode is ignored there)"),
    (A2, attend((2, 1, 4, 16), atten_mask=SQUARE.triu(1), sparse_mode=3), "position (sparse_mode is ignored there)"),
    (A2, attend(atten_mask=t(3, 5, dtype=torch.bool), sparse_mode=3), "2048), 1) with sparse_mode 3, got (3, 5)"),
    (A2, attend(atten_mask=SQUARE.tril(), sparse_mode=3), "with sparse_mode 3, got [True, False, True, True]"),
    (A2, attend(sparse_mode=2), "atten_mask is required with sparse_mode 2, got None"),
    (A2, attend(sparse_mode=5), "sparse_mode must be 0 to 4, got 5"),
    (A2, attend(atten_mask=SQUARE.triu(1), sparse_mode=4, pre_tokens=-3, next_tokens=2), "end before pre_tokens begin"),
    (A2, attend(inner_precise=4), "inner_precise must be 0 to 3"),
    (A2, attend((2, 1, 4, 16), inner_precise=2), "0 or 1 where query has one position, got 2"),
    (A2, attend(actual_seq_lengths_kv=[6, 2]), "actual_seq_lengths_kv must be between 0 and 5, got [6, 2]"),
    (A2, attend((3, 3, 4, 16), (3, 5, 2, 16), actual_seq_lengths_kv=[1, 2]), "must have 1 or 3 entries, got 2"),
    (A2, attend(actual_seq_lengths=[3], query_padding_size=torch.tensor([1])), "leave begin = 2 - length at 0 or more"),
    (A2, attend(block_table=torch.zeros(2, 1, dtype=torch.int32)), "leave it at its default, got a tensor (2, 1)"),
    (A2, attend(block_size=128), "block_size is not computed by this CPU kernel: leave it at its default, got 128"),
    (A2, attend(pse_shift=t(1, 4, 3, 5)), "pse_shift must have the dtype of query (torch.bfloat16), got torch.float32"),
    (A2, attend(pse_shift=t(1, 1, 3, 5, dtype=bf16)), "with B=2, N=4, Q_S=3, KV_S=5 or longer, got (1, 1, 3, 5)"),
    (A2, attend(pse_shift=t(3, 4, 3, 5, dtype=bf16)), "pse_shift must be (1 or B, N, Q_S, KV_S)"),
    (A2, attend(pse_shift=t(2, 4, 1, 5, dtype=bf16)), "pse_shift must be (1 or B, N, Q_S, KV_S)"),
    (A2, attend(pse_shift=t(2, 4, 3, 4, dtype=bf16)), "pse_shift must be (1 or B, N, Q_S, KV_S)"),
    (A2, attend(pse_shift=t(4, 3, 5, dtype=bf16)), "pse_shift must be (1 or B, N, Q_S, KV_S)"),
    (A2, attend((2, 1, 4, 16), pse_shift=t(2, 4, 3, 5, dtype=bf16)), "pse_shift must be (1 or B, N, Q_S, KV_S)"),
    (A2, attend(pse_shift=t(1, 4, 5, 3, dtype=bf16).transpose(2, 3)), "pse_shift must be contiguous"),
    (A2, attend((2, 1, 4, 8), (2, 5, 2, 8), pse_shift=t(1, 4, 1, 5, dtype=bf16)), "must have D % 16 == 0 where"),
    (A2, attend(pse_shift=t(1, 4, 3, 5, dtype=bf16), kv_padding_size=I2[:1]), "pse_shift with left padding is not"),
    (A2, tnd(pse_shift=t(1, 4, 4, 4, dtype=bf16)), "pse_shift must not be given in layout TND"),
    (A2, tnd(lengths=None), "actual_seq_lengths and actual_seq_lengths_kv are required in layout TND"),
    (A2, tnd(lengths=(4,)), "must have one entry a sequence, 1 to 4096, got 1 and 2"),
    (A2, tnd(lengths=(3, 2)), "actual_seq_lengths must be cumulative, up to 4, in layout TND, got [3, 2]"),
    (A2, tnd(kv_lengths=(2, 5)), "actual_seq_lengths_kv must be cumulative, up to 4"),
    (A2, tnd(size=64), "192 and 192 in layout TND, got 64 and 64"),
    (A2, tnd(kv_padding_size=I2[:1]), "input_layout must not be TND with left padding"),
    (A2, tnd(sparse_mode=2, atten_mask=SQUARE.triu(1)), "must be 3 or 4, or 0 without a mask, in layout TND, got 2"),
    # scatter_update_
    (A2, put(t(2, 8, dtype=f64), I2, t(2, 1, dtype=f64), 1), "scatter_update_: input must be one of torch.int8"),
    (A2, put(t(8), I2, t(2), 0), "scatter_update_: input must have 2 to 8 dimensions, got 1 (8,)"),
    (A2, put(t(2, 8), I2, t(2, 1, dtype=bf16), 1), "must have the dtype of input (torch.float32), got torch.bfloat16"),
    (A2, put(t(2, 8), I2.float(), t(2, 1), 1), "indices must be one of torch.int32, torch.int64, got torch.float32"),
    (A2, put(t(2, 8, 4), I2, t(2, 1, 3), 1), "shape of input (2, 8, 4), shorter along 0 and 1 at most, got (2, 1, 3)"),
    (A2, put(t(2, 8, 4), I2, t(2, 9, 4), 1), "shorter along 0 and 1 at most, got (2, 9, 4)"),
    (A2, put(t(2, 8, 4), I2, t(2, 4), 1), "updates must have 3 dimensions, got 2 (2, 4)"),
    (A2, put(t(2, 8, 4), I2[:1], t(2, 1, 4), 1), "indices must have a row for each of updates (2, 1, 4), got (1,)"),
    (A2, put(t(2, 8, 4), torch.zeros(2, 3, dtype=torch.int64), t(2, 1, 4), 1), "be (rows,) or (rows, 2), got (2, 3)"),
    (A2, put(t(2, 8, 4), I2, t(2, 8, 4), 0), "must be a dimension of input (2, 8, 4) other than the batch, 0, got 0"),
    (A2, put(t(2, 8, 4), I2, t(2, 1, 4), 3), "must be a dimension of input (2, 8, 4) other than the batch, 0, got 3"),
    (A2, put(t(2, 8, 4), I2, t(2, 0, 4), 1), "updates must not be empty, got (2, 0, 4)"),
    (A2, put(t(2, 8, 4), I2[:1], t(2, 1, 4), 1, op="scatter_update"), "scatter_update: indices must have a row"),
    (ASCEND_310P, put(t(2, 8, 4), I2, t(2, 1, 4), 1), "be one of Ascend910B, Ascend910_93, Ascend950, got Ascend310P"),
    # npu_scatter_nd_update_
    (A2, put(t(4, 5, dtype=torch.int32), I2[None], t(1, dtype=torch.int32), op=ND), "input must be one of"),
    (A2, put(t(4, 5), I2, t(5), op=ND), "indices must have 2 to 8 dimensions, got 1 (2,)"),
    (A2, put(t(4), I2[None], t(1), op=ND), "indices must end in a size up to 1, the rank of input, got (1, 2)"),
    (A2, put(t(4, 5), I2[:, None], t(2, 4), op=ND), "updates must be indices.shape[:-1] + input.shape[1:], got (2, 4)"),
    (A2, put(t(4, 5), I2[:, None], t(2, 5, dtype=bf16), op=ND), "updates must have the dtype of input"),
    (ASCEND_310P, put(t(4, 5, dtype=bf16), I2[:, None], t(2, 5, dtype=bf16), op=ND), "torch.float16, torch.bool, got"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "call", "message"), REFUSED, ids=[f"{name}-{text}" for name, _, text in REFUSED])
def test_refused(name, call, message):
    with chip(name), pytest.raises(ContractError, match=re.escape(message)):
        call()


def test_a_refusal_is_a_runtime_error_as_on_the_device():
    with pytest.raises(RuntimeError, match="npu_swiglu: input must have an even size") as caught:
        torch_npu.npu_swiglu(t(2, 7))
    assert not isinstance(caught.value, ValueError)
    with pytest.raises(RuntimeError, match="npu_swiglu: input must have an even size"), torch.no_grad():
        torch_npu.npu_swiglu(t(2, 7, dtype=bf16))


ALLOWED = [
    (A2, norm(t(2, 8, dtype=fp16), t(8))),
    (ASCEND_310P, norm(t(2, 16, dtype=fp16), t(16, dtype=fp16))),
    (A2, add(t(8), t(8), t(8))),
    (A2, rotary(t(2, 3, 4, 894), t(2, 3, 1, 894))),
    (ASCEND_950, rotary(t(2, 3, 4, 1024), t(2, 3, 1, 1024))),
    (A2, rotary(t(1, 2000, 4, 2), t(1, 2000, 1, 2))),
    (A2, rotary(t(2, 3, 4, 16, dtype=bf16), t(2, 3, 1, 16), t(2, 3, 1, 16, dtype=fp16))),
    (ASCEND_950, rotary(t(2, 3, 4, 16), t(2, 3, 1, 16, dtype=bf16))),
    (A2, attend((128, 2, 4, 8), (128, 2, 2, 8))),
    (A2, attend((1, 2, 128, 8), (1, 2, 2, 8), num_heads=128)),
    (A2, attend((2, 1, 4, 16), sparse_mode=3)),
    (A2, attend(dtype=f32)),
    (A2, attend(actual_seq_lengths_kv=[5, 2, 99])),
    (A2, attend(kv_padding_size=torch.tensor([99]))),
    (A2, attend(kv=(2, 0, 2, 16))),
    (A2, tnd()),
    (ASCEND_950, put(t(2, 8, 4), I2, t(2, 1, 4), 1)),
    (ASCEND_310P, put(t(4, 5), I2[:, None], t(2, 5), op=ND)),
]


@pytest.mark.parametrize(("name", "call"), ALLOWED)
def test_allowed(name, call):
    with chip(name):
        call()

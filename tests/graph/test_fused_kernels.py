"""The fused operators of a decoder against formulas in float64, by loops over rows, heads and experts."""

import math

import pytest
import torch

from tests.graph.test_kernels import call, ints

TESTED = {
    "MatMul", "MatMulV2", "BatchMatMul", "BatchMatMulV2", "GroupedMatmul", "Scatter", "LayerNormV4", "RmsNorm",
    "AddRmsNorm", "AddRmsNormCast", "RotaryMul", "RotaryPositionEmbedding", "InterleaveRope", "FusedInferAttentionScore", "SwiGlu",
    "GeGluV2", "ClippedSwiglu", "MoeGatingTopKSoftmax", "MoeGatingTopK", "MoeInitRoutingV3", "MoeFinalizeRoutingV2",
}  # fmt: skip


def drawn(*sizes, seed=0):
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed + sum(sizes)))


def close(made, wanted, rtol=3e-6, atol=1e-6):
    torch.testing.assert_close(made, wanted.to(made.dtype), rtol=rtol, atol=atol)


def normed(x, gamma, epsilon):
    x = x.double()
    mean = torch.stack([(row * row).sum() / len(row) for row in x.reshape(-1, x.shape[-1])])
    return x / (mean.reshape(*x.shape[:-1], 1) + epsilon).sqrt() * gamma.double()


def test_norms():
    x, other, gamma = drawn(2, 3, 8), drawn(2, 3, 8, seed=1), drawn(8)
    y, rstd = call("RmsNorm", {"x": x, "gamma": gamma}, {"epsilon": 1e-2}, [x, x])
    close(y, normed(x, gamma, 1e-2))
    close(rstd, 1 / ((x.double() ** 2).mean(-1, keepdim=True) + 1e-2).sqrt())
    y, _, total = call("AddRmsNorm", {"x1": x, "x2": other, "gamma": gamma}, {"epsilon": 1e-2}, [x, x, x])
    close(total, x.double() + other.double())
    close(y, normed(x.double() + other.double(), gamma, 1e-2))
    beta, last = drawn(8, seed=2), ints(8)
    fed = {"x": x, "normalized_shape": last, "gamma": gamma, "beta": beta}
    y, mean, rstd = call("LayerNormV4", fed, {"epsilon": 1e-2}, [x, x, x])
    centred = x.double() - x.double().mean(-1, keepdim=True)
    close(mean, x.double().mean(-1, keepdim=True))
    close(rstd, 1 / (centred.pow(2).sum(-1, keepdim=True) / 8 + 1e-2).sqrt())
    close(y, normed(centred, gamma, 1e-2) + beta)
    plain, _, _ = call("LayerNormV4", {"x": x, "normalized_shape": last}, {"epsilon": 1e-2}, [x, x, x])
    close(plain, normed(centred, torch.ones(8), 1e-2))
    half = [tensor.half() for tensor in (x, other, gamma)]
    fed = dict(zip(("x1", "x2", "gamma"), half, strict=True))
    wide, narrow, _, total = call("AddRmsNormCast", fed, {"epsilon": 1e-2}, [x, half[0], x, half[0]])
    assert (wide.dtype, narrow.dtype) == (torch.float32, torch.float16)
    close(wide, narrow)
    close(narrow, normed(half[0].double() + half[1].double(), half[2], 1e-2), rtol=4e-3, atol=4e-3)


def turned(x, cos, sin, pairs):
    """Each pair of channels (a, b) -> a cos - b sin, b cos + a sin."""
    out = x.double().clone()
    for a, b in pairs:
        out[..., a] = x[..., a].double() * cos[..., a] - x[..., b].double() * sin[..., a]
        out[..., b] = x[..., b].double() * cos[..., b] + x[..., a].double() * sin[..., b]
    return out


def test_rotations():
    x, cos, sin = drawn(2, 3, 4, 8), drawn(2, 3, 1, 8), drawn(2, 3, 1, 8, seed=1)
    halves, neighbours = [(i, i + 4) for i in range(4)], [(2 * i, 2 * i + 1) for i in range(4)]
    (y,) = call("RotaryMul", {"x": x, "r1": cos, "r2": sin}, {}, x)
    close(y, turned(x, cos, sin, halves))
    one = {"x": x[:1], "cos": cos[:1], "sin": sin[:1]}
    (y,) = call("RotaryPositionEmbedding", one, {"mode": 0}, x)
    close(y, turned(x[:1], cos[:1], sin[:1], halves))
    (y,) = call("RotaryPositionEmbedding", one, {"mode": 1}, x)
    close(y, turned(x[:1], cos[:1], sin[:1], neighbours))
    matrix = torch.zeros(8, 8)
    for a, b in neighbours:
        matrix[b, a], matrix[a, b] = -1, 1
    (y,) = call("RotaryPositionEmbedding", {**one, "rotate": matrix}, {"mode": 1}, x)
    close(y, turned(x[:1], cos[:1], sin[:1], neighbours))
    x, cos, sin = drawn(1, 2, 3, 64), drawn(1, 1, 3, 64), drawn(1, 1, 3, 64, seed=1)
    apart = torch.cat((x[..., ::2], x[..., 1::2]), -1)
    (y,) = call("InterleaveRope", {"x": x, "cos": cos, "sin": sin}, {}, x)
    close(y, turned(apart, cos, sin, [(i, i + 32) for i in range(32)]))


def attended(query, key, value, masked, scale, layout="BSND"):
    """BSND, by loops; grouped heads read the same keys."""
    (batch, steps, heads, _), groups = query.shape, key.shape[2]
    out = torch.zeros(*query.shape[:3], value.shape[-1], dtype=torch.float64)
    lse = torch.zeros(batch, heads, steps, 1, dtype=torch.float64)
    for b in range(batch):
        for s in range(steps):
            for n in range(heads):
                seen = [k for k in range(key.shape[1]) if not masked[b, 0, s, k]]
                head = n * groups // heads
                scores = [scale * float(query[b, s, n].double() @ key[b, k, head].double()) for k in seen]
                total = sum(math.exp(score) for score in scores)
                lse[b, n, s] = math.log(total)
                for k, score in zip(seen, scores, strict=True):
                    out[b, s, n] += math.exp(score) / total * value[b, k, head].double()
    return out, lse


@pytest.mark.parametrize("steps", [1, 3])
def test_attention(steps):
    query, key, value = drawn(2, steps, 4, 8), drawn(2, 5, 2, 8), drawn(2, 5, 2, 8, seed=1)
    masked = torch.zeros(2, 1, steps, 5, dtype=torch.bool)
    masked[0, 0, :, :2] = True
    masked[1, 0, :, 4] = True
    said = {"num_heads": 4, "num_key_value_heads": 2, "scale": 0.3, "input_layout": "BSND", "block_size": 0}
    fed = {"query": query, "key": [key], "value": [value]}
    out, lse = call(
        "FusedInferAttentionScore",
        {**fed, "atten_mask": masked},
        {**said, "softmax_lse_flag": True},
        [query, query],
    )
    wanted, wanted_lse = attended(query, key, value, masked, 0.3)
    close(out, wanted)
    close(lse, wanted_lse)
    lengths = {"actual_seq_lengths_kv": ints(3, 5)}
    short = torch.zeros_like(masked)
    short[0, 0, :, 3:] = True
    out, _ = call("FusedInferAttentionScore", {**fed, **lengths}, said, [query, query])
    close(out, attended(query, key, value, short, 0.3)[0])


def test_gated_activations():
    x = drawn(3, 8)
    left, right = x.double()[:, :4], x.double()[:, 4:]
    (y,) = call("SwiGlu", {"x": x}, {"dim": -1}, x)
    close(y, left / (1 + (-left).exp()) * right)
    gelu = 0.5 * left * (1 + torch.special.erf(left / math.sqrt(2)))
    y, activated = call("GeGluV2", {"x": x}, {"dim": -1, "approximate": 0, "activate_left": True}, [x, x])
    close(activated, gelu)
    close(y, gelu * right)
    gate, up = x.double()[:, ::2].clamp(max=1.0), x.double()[:, 1::2].clamp(-1.0, 1.0)
    (y,) = call("ClippedSwiglu", {"x": x}, {"alpha": 1.5, "limit": 1.0, "bias": 0.5}, x)
    close(y, gate / (1 + (-1.5 * gate).exp()) * (up + 0.5))


def test_products():
    x, w, bias = drawn(3, 4), drawn(4, 5), drawn(5)
    wanted = torch.tensor(
        [[sum(float(x[i, k]) * float(w[k, j]) for k in range(4)) for j in range(5)] for i in range(3)]
    )
    for kind in ("MatMul", "MatMulV2"):
        close(call(kind, {"x1": x, "x2": w}, {}, x)[0], wanted)
        turned_in = {"transpose_x1": True, "transpose_x2": True}
        close(call(kind, {"x1": x.T, "x2": w.T, "bias": bias}, turned_in, x)[0], wanted + bias)
    for kind in ("BatchMatMul", "BatchMatMulV2"):
        stack = torch.stack((x, 2 * x))
        close(call(kind, {"x1": stack, "x2": w.T}, {"adj_x2": True}, x)[0], torch.stack((wanted, 2 * wanted)))


@pytest.mark.parametrize("kind", [0, 1])
def test_grouped_products(kind):
    rows, weight, bias = drawn(6, 4), drawn(3, 4, 5), drawn(3, 5)
    counts = [2, 0, 4]
    groups = ints(*(counts if kind else [2, 2, 6]))
    none = {name: [torch.zeros(0)] for name in ("scale", "offset", "antiquant_scale", "antiquant_offset")}
    said = {"split_item": 3, "group_type": 0, "group_list_type": kind, "dtype": -1, "act_type": 0, "tuning_config": [0]}
    fed = {"x": [rows], "weight": [weight], "bias": [bias], **none, "group_list": groups}
    (y,) = call("GroupedMatmul", fed, said, rows)
    expert = [index for index, count in enumerate(counts) for _ in range(count)]
    close(y, torch.stack([rows[i].double() @ weight[e].double() + bias[e] for i, e in enumerate(expert)]))


def test_a_scatter_writes_each_row_at_its_place():
    cache, updates = drawn(2, 6, 2, 4), drawn(2, 3, 2, 4)
    before = cache.clone()
    (y,) = call(
        "Scatter", {"var": cache, "indices": ints(0, 2), "updates": updates}, {"reduce": "update", "axis": 1}, cache
    )
    assert y.data_ptr() == cache.data_ptr(), "in place"
    for row, start in enumerate((0, 2)):
        for place in range(6):
            inside = start <= place < start + 3
            assert torch.equal(cache[row, place], updates[row, place - start] if inside else before[row, place])


def test_routers():
    x = drawn(3, 6)
    scores = x.double().exp() / x.double().exp().sum(-1, keepdim=True)
    best = [sorted(range(6), key=lambda e, row=row: -row[e])[:2] for row in scores]
    experts = torch.tensor(best, dtype=torch.int32)
    weights, chosen, rows = call("MoeGatingTopKSoftmax", {"x": x}, {"k": 2}, [x, experts, experts])
    assert torch.equal(chosen, experts)
    close(weights, scores.gather(1, experts.long()))
    assert rows.tolist() == [[0, 3], [1, 4], [2, 5]]
    bias = drawn(6)
    sigmoid = 1 / (1 + (-x.double()).exp())
    best = [sorted(range(6), key=lambda e, row=row: -row[e])[:2] for row in sigmoid + bias.double()]
    said = {"k": 2, "norm_type": 1, "routed_scaling_factor": 2.5}
    weights, chosen, _ = call("MoeGatingTopK", {"x": x, "bias": bias}, said, [x, experts, x])
    assert chosen.tolist() == best
    picked = sigmoid.gather(1, torch.tensor(best))
    close(weights, picked / picked.sum(-1, keepdim=True) * 2.5)


def test_rows_to_experts_and_back():
    x, experts = drawn(3, 4), torch.tensor([[2, 0], [0, 1], [2, 1]], dtype=torch.int32)
    said = {
        "active_num": 6, "expert_num": 4, "expert_tokens_num_type": 1, "expert_tokens_num_flag": True,
        "active_expert_range": [0, 4], "row_idx_type": 0, "quant_mode": -1, "drop_pad_mode": 0, "expert_capacity": -1,
    }  # fmt: skip
    outputs = [x, experts, ints(0), x]
    rows, places, counts, _ = call("MoeInitRoutingV3", {"x": x, "expert_idx": experts}, said, outputs)
    choices = sorted(range(6), key=lambda c: (experts.flatten()[c].item(), c))
    assert torch.equal(rows, torch.stack([x[choice // 2] for choice in choices]))
    assert places.tolist() == [choices.index(choice) for choice in range(6)]
    assert counts.tolist() == [2, 2, 2, 0]
    scales = drawn(3, 2)
    fed = {"expanded_x": rows, "expanded_row_idx": places, "scales": scales}
    (y,) = call("MoeFinalizeRoutingV2", fed, {"drop_pad_mode": 2, "k": 1}, x)
    close(y, x.double() * scales.double().sum(-1, keepdim=True))

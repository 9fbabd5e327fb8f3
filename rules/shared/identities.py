"""Spellings of one value. Each function is one identity, each line of it one spelling.

They are the same bit for bit in every floating dtype, whatever their operands are: rules and sources may use any. No
other algebra is seen through: sums in another order round otherwise.
"""

import torch
from transformers.cache_utils import DynamicCache


def same_product(a, b):
    a * b
    b * a


def same_sum(a, b):
    a + b
    b + a


def same_float32(x):
    x.to(torch.float32)
    x.to(dtype=torch.float32)
    x.float()
    x.type(torch.float32)


def same_cast(x, dtype):
    x.to(dtype)
    x.to(dtype=dtype)


def same_cast_like(x, like):
    x.to(like.dtype)
    x.to(dtype=like.dtype)
    x.type_as(like)


def same_square(x):
    x.pow(2)
    x**2
    x * x
    x.square()
    torch.pow(x, 2)
    torch.square(x)


def same_one_more(x):
    1.0 + x
    1 + x
    x + 1.0
    x + 1


def same_rsqrt(x):
    torch.rsqrt(x)
    x.rsqrt()


def same_mean_kept(x, d):
    x.mean(d, keepdim=True)
    x.mean(dim=d, keepdim=True)
    x.mean(d, True)
    torch.mean(x, d, keepdim=True)
    torch.mean(x, dim=d, keepdim=True)


def same_unsqueezed(x, d):
    x.unsqueeze(d)
    x.unsqueeze(dim=d)
    torch.unsqueeze(x, d)
    torch.unsqueeze(x, dim=d)


def same_join(a, b, d):
    torch.cat((a, b), dim=d)
    torch.cat([a, b], dim=d)
    torch.cat((a, b), d)
    torch.cat([a, b], d)
    torch.concat((a, b), dim=d)
    torch.concat([a, b], dim=d)


def same_stack(a, b, d):
    torch.stack((a, b), dim=d)
    torch.stack([a, b], dim=d)
    torch.stack((a, b), d)
    torch.stack([a, b], d)


def same_every(x, n):
    x[..., ::n]
    x[..., 0::n]


def same_last_size(x):
    x.shape[-1]
    x.size(-1)
    x.size(dim=-1)


def same_softmax_in_float32(x):
    torch.nn.functional.softmax(x, dim=-1, dtype=torch.float32)
    torch.nn.functional.softmax(x, dim=-1, dtype=torch.float)
    torch.nn.functional.softmax(x.to(torch.float32), dim=-1)
    torch.nn.functional.softmax(x.float(), dim=-1)
    torch.softmax(x, dim=-1, dtype=torch.float32)
    torch.softmax(x.to(torch.float32), dim=-1)
    torch.softmax(x.float(), dim=-1)


def same_softmax(x):
    torch.softmax(x, dim=-1)
    torch.nn.functional.softmax(x, dim=-1)
    x.softmax(dim=-1)
    x.softmax(-1)


def same_sigmoid(x):
    x.sigmoid()
    torch.sigmoid(x)
    torch.nn.functional.sigmoid(x)


def same_best(x, k):
    torch.topk(x, k, dim=-1)
    torch.topk(x, k=k, dim=-1)
    x.topk(k, dim=-1)
    x.topk(k=k, dim=-1)


def same_flat_end(x):
    x.flatten(-2)
    x.flatten(start_dim=-2)
    torch.flatten(x, -2)
    torch.flatten(x, start_dim=-2)


def same_update(cache, key, value, layer, **kwargs):
    """transformers 5.24 hands a cache the call's other arguments: paged caches alone read them, and no port has one."""
    cache.update(key, value, layer)
    cache.update(key, value, layer, kwargs=kwargs)


def proof_same_cast(draw):
    return dict(x=draw.normal(2, 7, 64), dtype=draw.choice((torch.float32, torch.bfloat16, torch.float16)))


def proof_same_cast_like(draw):
    return dict(x=draw.normal(2, 7, 64).double(), like=draw.normal(2))


def _with_dimension(draw):
    return dict(x=draw.normal(2, 7, 64), d=draw.choice((-1, 0, 1, 2)))


def proof_same_mean_kept(draw):
    return _with_dimension(draw)


def proof_same_unsqueezed(draw):
    return _with_dimension(draw)


def _pair_with_dimension(draw):
    return dict(a=draw.normal(2, 7, 64), b=draw.normal(2, 7, 64), d=draw.choice((-1, 0, 1, 2)))


def proof_same_join(draw):
    return _pair_with_dimension(draw)


def proof_same_stack(draw):
    return _pair_with_dimension(draw)


def proof_same_every(draw):
    return dict(x=draw.normal(2, 7, 64), n=draw.choice((1, 2, 3)))


def proof_same_best(draw):
    return dict(x=draw.normal(2, 7, 64), k=draw.choice((1, 2, 8)))


def proof_same_update(draw):
    return dict(cache=DynamicCache(), key=draw.normal(2, 2, 7, 64), value=draw.normal(2, 2, 7, 64), layer=0, kwargs={})

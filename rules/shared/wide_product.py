"""Attention of queries and keys in fp32, written out in a method: the scale divides scores and mask. It stays."""

import torch
from torch import nn


def before_product(self, query, key, value, mask):
    """queries in fp32, which no kernel takes; rounded before they are multiplied they are not the source's"""
    query = query.to(torch.float32)
    key = key.to(torch.float32)
    scores = torch.matmul(query, key.transpose(-1, -2))
    if mask is not None:
        scores = scores + mask
    scores = scores / self.scale_attn
    scores = nn.Softmax(dim=-1)(scores)
    scores = scores.to(value.dtype)
    scores = self.attn_dropout(scores)
    output = torch.matmul(scores, value)
    return output, scores


def after_product(self, query, key, value, mask):
    query = query.to(torch.float32)
    key = key.to(torch.float32)
    scores = torch.matmul(query, key.transpose(-1, -2))
    if mask is not None:
        scores = scores + mask
    scores = scores / self.scale_attn
    scores = nn.Softmax(dim=-1)(scores)
    scores = scores.to(value.dtype)
    scores = self.attn_dropout(scores)
    output = torch.matmul(scores, value)
    return output, scores

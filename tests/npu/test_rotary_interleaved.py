"""npu_interleave_rope against DeepSeek's own rotation and against pairs turned one by one."""

import math
import re

import pytest
import torch
from transformers.models.deepseek_v3.modeling_deepseek_v3 import apply_rotary_pos_emb_interleave

from porter.npu import ContractError, chip, torch_npu


def tables(batch, rows, dtype):
    """cos and sin (B, 1, S, 64) as a model has them: the angles of the pairs, twice."""
    angles = torch.rand(batch, rows, 32) * 6
    angles = torch.cat((angles, angles), -1)
    return angles.cos().to(dtype)[:, None], angles.sin().to(dtype)[:, None]


@pytest.mark.parametrize("rows", [5, 1])
def test_it_rotates_as_deepseek_does(dtype, rows, no_worse):
    x = torch.randn(2, 3, 5, 64).to(dtype)
    cos, sin = tables(2, rows, dtype)
    eager, _ = apply_rotary_pos_emb_interleave(x, x, cos[:, 0], sin[:, 0])
    truth, _ = apply_rotary_pos_emb_interleave(x.double(), x.double(), cos[:, 0].double(), sin[:, 0].double())
    found = torch_npu.npu_interleave_rope(x, cos, sin)
    if dtype is torch.float32:
        assert torch.equal(found, eager)
    else:
        assert torch.equal(found, truth.float().to(dtype)) and not torch.equal(found, eager)
        no_worse(found, eager, truth)


def test_a_pair_is_turned_by_its_angle_and_its_ends_go_to_two_halves():
    x = torch.zeros(1, 1, 1, 64)
    x[..., 6], x[..., 7] = 3.0, 4.0  # the fourth pair
    angle = 0.5
    found = torch_npu.npu_interleave_rope(x, torch.full_like(x, math.cos(angle)), torch.full_like(x, math.sin(angle)))
    wanted = [0.0] * 64
    wanted[3], wanted[32 + 3] = 3 * math.cos(angle) - 4 * math.sin(angle), 4 * math.cos(angle) + 3 * math.sin(angle)
    assert found.flatten().tolist() == pytest.approx(wanted)


X, TABLE = torch.zeros(2, 3, 5, 64), torch.zeros(2, 1, 5, 64)
REFUSED = [
    ((X.double(), TABLE, TABLE), "x must be one of torch.float16"),
    ((X, TABLE.half(), TABLE), "cos must have the dtype of x (torch.float32), got torch.float16"),
    ((X[0], TABLE, TABLE), "x must have 4 dimensions"),
    ((X[:0], TABLE, TABLE), "x must not be empty"),
    ((X[..., :32].contiguous(), TABLE, TABLE), "x must have D 64, got (2, 3, 5, 32)"),
    ((X.transpose(1, 2), TABLE, TABLE), "x must be contiguous"),
    ((X, TABLE[:1], TABLE[:1]), "cos must be (B, 1, S or 1, 64) of x (2, 3, 5, 64), got (1, 1, 5, 64)"),
    ((X, X, X), "cos must be (B, 1, S or 1, 64)"),
    ((X, TABLE, TABLE[:, :, :1].contiguous()), "sin must have the shape of cos (2, 1, 5, 64), got (2, 1, 1, 64)"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refused(arguments, message):
    with pytest.raises(ContractError, match=re.escape(message)):
        torch_npu.npu_interleave_rope(*arguments)


@pytest.mark.parametrize("name", ["Ascend310P", "Ascend950"])
def test_other_chips_are_refused(name):
    with chip(name), pytest.raises(ContractError, match="the chip must be one of Ascend910B, Ascend910_93"):
        torch_npu.npu_interleave_rope(X, TABLE, TABLE)

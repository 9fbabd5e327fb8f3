"""A check of sizes runs once for a signature, and its errors every time."""

import pytest
import torch

from porter.npu import torch_npu
from porter.npu.chip import ASCEND_310P, chip
from porter.npu.contract import ContractError
from porter.npu.once import once_a_signature


@pytest.fixture
def counted():
    calls = []

    @once_a_signature
    def check(*arguments):
        calls.append(arguments)
        if any(argument == "bad" for argument in arguments if isinstance(argument, str)):
            raise ValueError(arguments)

    return check, calls


SAME = {
    "values differ": (torch.zeros(2, 3), torch.ones(2, 3)),
    "a list of other numbers": ([1, 2], [3, 4]),
    "a parameter for a tensor": (torch.zeros(2), torch.nn.Parameter(torch.ones(2))),
}
OTHER = {
    "shape": (torch.zeros(2, 3), torch.zeros(3, 2)),
    "dtype": (torch.zeros(2), torch.zeros(2, dtype=torch.float16)),
    "contiguity": (torch.zeros(3, 3), torch.zeros(3, 3).t()),
    "a number": (1, 2),
    "a text": ("a", "b"),
    "nothing": (torch.zeros(2), None),
    "the length of a list": ([1], [1, 2]),
}


@pytest.mark.parametrize("pair", SAME)
def test_what_does_not_count(counted, pair):
    check, calls = counted
    for argument in SAME[pair]:
        check(argument, 7)
    assert len(calls) == 1


@pytest.mark.parametrize("pair", OTHER)
def test_what_counts(counted, pair):
    check, calls = counted
    for argument in (*OTHER[pair], *OTHER[pair]):
        check(argument, 7)
    assert len(calls) == 2


def test_a_failure_is_not_remembered(counted):
    check, calls = counted
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            check("bad")
    assert len(calls) == 2


def test_fake_tensors_are_always_checked(counted):
    check, calls = counted
    with torch._subclasses.FakeTensorMode():
        for _ in range(2):
            check(torch.zeros(2))
    assert len(calls) == 2


def test_a_call_that_passed_on_one_chip_is_checked_on_the_next():
    x, gamma = torch.zeros(2, 64, dtype=torch.bfloat16), torch.ones(64, dtype=torch.bfloat16)
    torch_npu.npu_rms_norm(x, gamma)
    with chip(ASCEND_310P), pytest.raises(ContractError, match="bfloat16"):
        torch_npu.npu_rms_norm(x, gamma)
    torch_npu.npu_rms_norm(x, gamma)


def test_attention_looks_at_the_values_of_lengths_every_time():
    q, kv = torch.zeros(1, 1, 2, 16), torch.zeros(1, 8, 2, 16)
    for length in (3, 8):
        torch_npu.npu_fused_infer_attention_score(
            q, kv, kv, num_heads=2, input_layout="BSND", actual_seq_lengths_kv=[length]
        )
    with pytest.raises(ContractError, match="between 0 and 8"):
        torch_npu.npu_fused_infer_attention_score(
            q, kv, kv, num_heads=2, input_layout="BSND", actual_seq_lengths_kv=[9]
        )

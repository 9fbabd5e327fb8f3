"""The error rule of proofs: what a rewrite may be wrong by, and what fails."""

import pytest
import torch

from porter.verify.error_rule import MANY, Figures
from porter.verify.rounding import ulp


@pytest.mark.parametrize(("dtype", "eps"), [(torch.bfloat16, 2**-7), (torch.float16, 2**-10), (torch.float32, 2**-23)])
def test_ulp_is_the_distance_to_the_next_number(dtype, eps):
    values = torch.tensor([1.0, 1.5, 2.0, -0.75, 0.0])
    smallest = torch.finfo(dtype).tiny * eps
    assert torch.equal(ulp(values, dtype), torch.tensor([eps, eps, 2 * eps, eps / 2, smallest]))


@pytest.mark.parametrize("limit", ["the source's error", "the floor"])
def test_a_float32_result_may_err_as_its_source_or_by_a_few_ulp_of_the_largest(limit):
    truth = torch.tensor([1.0, 64.0], dtype=torch.float64)
    step = 2.0**-17  # an ulp at 64
    source = truth + torch.tensor([0, 12 * step if limit == "the source's error" else 0])
    allowed = 12 if limit == "the source's error" else 8
    for steps, passes in ((allowed, True), (allowed + 1, False)):
        figures = Figures()
        figures.add(source.float(), (truth - steps * step).float(), truth)
        assert figures.passed == passes


def test_the_limit_is_the_sources_worst_error_or_one_ulp():
    truth = torch.tensor([1.0, 100.0])
    source = torch.tensor([1.0, 100.5]).bfloat16()  # off by one ulp there
    figures = Figures()
    figures.add(source, torch.tensor([1.5, 100.0]).bfloat16(), truth)
    assert figures.passed  # 0.5, the source's own worst
    figures.add(source, torch.tensor([1.6, 100.0]).bfloat16(), truth)
    assert not figures.passed
    exact = Figures()
    exact.add(truth.bfloat16(), torch.tensor([1.0078125, 100.0]).bfloat16(), truth)
    assert exact.passed and exact.of_limit == 1.0


def summed(order, dtype, seed):
    """Rows of products summed by halves, left or right first, in roundings to the dtype; and the truth."""
    x = torch.randn(16, 64, 64, generator=torch.Generator().manual_seed(seed)).to(dtype)
    parts = x if order == "left" else x.flip(-1)
    total = parts[..., 0]
    for number in range(1, 8):
        total = total + parts[..., number]
    rest = parts[..., 8:].double().sum(-1)
    return (total.double() + rest).to(dtype), x.double().sum(-1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_of_two_results_that_err_alike_neither_fails_by_its_worst_element(dtype):
    worse = 0
    for seed in range(60):
        (left, truth), (right, _) = summed("left", dtype, seed), summed("right", dtype, seed)
        worse += bool((right.double() - truth).abs().max() > (left.double() - truth).abs().max())
        figures = Figures()
        figures.add(left, right, truth)
        assert figures.passed, (seed, figures.of_limit)
    assert 10 < worse < 50  # which of the two has the worst element is chance


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("fault", ["one element", "all twice as far", "a bias of three ulp"])
def test_what_errs_more_than_its_source_fails(dtype, fault):
    source, truth = summed("left", dtype, 1)
    errors = source.double() - truth
    wrong = truth + 2 * errors
    if fault == "one element":
        wrong = truth + errors
        wrong[3, 5] = truth[3, 5] + 2.1 * errors.abs().max()
    elif fault == "a bias of three ulp":
        wrong = truth + 3 * ulp(truth.square().mean().sqrt(), dtype)
    figures = Figures()
    figures.add(source, wrong, truth)
    assert not figures.passed and source.numel() >= MANY

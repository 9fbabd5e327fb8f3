"""The error rule of whole models: as wrong as the source may be, what is shown to be more wrong may not be."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import porter.verify.precision as precision
from porter.verify.precision import FEW, MANY

TRUTH, SOURCE, PORT = "truth", "source", "port"


@pytest.fixture
def measured(monkeypatch):
    """The figure of a port whose error is `worse` times that of a source with random errors, and the prompts drawn."""

    def run(worse: float, seed: int, size: float = 0.05) -> tuple[float, int]:
        models, drawn = iter((TRUTH, SOURCE, PORT)), []

        def logits(model: str, pair: object, prompts: int) -> torch.Tensor:
            drawn.append(prompts)
            truth = torch.randn(MANY, 2, 12, 64, generator=torch.Generator().manual_seed(1))
            noise = torch.Generator().manual_seed(2 * seed + (model == PORT))
            by_prompt = 1 + torch.rand(MANY, 1, 1, 1, generator=torch.Generator().manual_seed(seed))
            error = size * by_prompt * torch.randn(truth.shape, generator=noise)
            wrong = {TRUTH: 0.0, SOURCE: 1.0, PORT: worse}[model]
            return (truth + wrong * error)[:prompts]

        monkeypatch.setattr(precision, "write_checkpoint", lambda *_: None)
        monkeypatch.setattr(precision, "load", lambda *_: next(models))
        monkeypatch.setattr(precision, "_logits", logits)
        finding = precision.precision(SimpleNamespace(source=1, port=1, config=None), torch.bfloat16)
        return finding.figure, max(drawn)

    return run


def test_a_port_as_wrong_as_its_source_passes(measured):
    figures = [measured(1.0, seed) for seed in range(40)]
    assert sum(figure > 1 for figure, _ in figures) <= 2  # 1 % of a one-sided test
    assert {prompts for _, prompts in figures} == {FEW, MANY}  # by chance above 1 with few


@pytest.mark.parametrize("worse", [1.02, 1.1, 3.0])
def test_a_port_that_is_more_wrong_fails(measured, worse):
    assert all(measured(worse, seed)[0] > 1 for seed in range(20))


def test_a_port_that_is_less_wrong_needs_few_prompts(measured):
    assert all(figure < 1 and prompts == FEW for figure, prompts in (measured(0.9, seed) for seed in range(10)))


def test_below_one_ulp_nothing_is_wrong(measured):
    figure, _ = measured(3.0, 0, size=1e-6)
    assert figure < 1

"""What the op tests share: seeded draws, and the rule that a kernel may err as eager code does and no more."""

from collections.abc import Callable, Iterator

import pytest
import torch

import porter.npu  # noqa: F401  registers the ops

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    torch.compiler.reset()
    yield


@pytest.fixture(params=DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def no_worse() -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]:
    """Error of the op against the truth <= max(error of the eager spelling, 1 ulp), element by element.

    So on any machine: in float32 a kernel runs the ops of the eager spelling, on the same shapes, and errs as it does;
    in 16 bits it rounds a float32 result once. Sums in another order are for `tests.error_rule`.
    """

    def check(actual: torch.Tensor, eager: torch.Tensor, truth: torch.Tensor) -> None:
        assert actual.dtype == eager.dtype and actual.shape == truth.shape and actual.is_contiguous()
        truth = truth.double()
        ulp = torch.finfo(actual.dtype).eps * truth.abs()
        allowed = torch.maximum((eager.double() - truth).abs(), ulp)
        worst = ((actual.double() - truth).abs() - allowed).max()
        assert worst <= 0, f"{worst} over the allowed error"

    return check

"""A folder of rules of one's own: a rule for a site that no shipped rule takes, and the op that it writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import porter.cli

MODEL = "transformers.models.zaya"
SITE = "ZayaResidualScaling.forward"

OPS = '''"""acme::scaled_sum: two scaled and shifted tensors and their sum, as one kernel."""

import torch

from porter.npu.contract import HALF_OR_FLOAT, check_dtype
from porter.npu.registry import Op


def scaled_sum(x, bias, scale, residual, residual_bias, residual_scale):
    """(..., H) each of x and residual, (H) each of the others. fp32 inside, rounded once."""
    check_dtype("scaled_sum", "residual", residual, HALF_OR_FLOAT)
    left = (x.float() + bias.float()) * scale.float()
    right = (residual.float() + residual_bias.float()) * residual_scale.float()
    return (left + right).to(torch.promote_types(x.dtype, residual.dtype))


def _fake(x, bias, scale, residual, residual_bias, residual_scale):
    return torch.empty_like(residual, dtype=torch.promote_types(x.dtype, residual.dtype))


OPS = (
    Op(
        "acme::scaled_sum(Tensor x, Tensor bias, Tensor scale, Tensor residual, Tensor residual_bias, "
        "Tensor residual_scale) -> Tensor",
        scaled_sum,
        _fake,
    ),
)
'''

RULE = '''"""A scaled sum of a residual -> acme::scaled_sum

Why:      five kernels become one.
Numerics: fp32 inside and one rounding.
Contract: acme::scaled_sum: fp16, bf16 or fp32.
"""

import torch

from porter.rule import Edit, Rule

rule = Rule(edits=(Edit(site="*.forward", unit="function"),))


def before(self, x, residual):
    x = (x + self.hidden_states_bias) * self.hidden_states_scale
    residual = (residual + self.residual_bias) * self.residual_scale
    return x + residual


def after(self, x, residual):
    return torch.ops.acme.scaled_sum(
        x, self.hidden_states_bias, self.hidden_states_scale, residual, self.residual_bias, self.residual_scale
    )


def not_without_a_shift(self, x, residual):
    """The op adds both."""
    x = x * self.hidden_states_scale
    residual = (residual + self.residual_bias) * self.residual_scale
    return x + residual


def proof(draw):
    names = ("hidden_states_bias", "hidden_states_scale", "residual_bias", "residual_scale")
    self = draw.module(**{name: draw.normal(64) for name in names})
    return {"self": self, "x": draw.normal(2, 7, 64), "residual": draw.normal(2, 7, 64)}
'''


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The folder, with its rule and its op."""
    folder = tmp_path / "acme_rules"
    (folder / "ops").mkdir(parents=True)
    (folder / "ops" / "scaled_sum.py").write_text(OPS)
    (folder / "scaled_residual.py").write_text(RULE)
    return folder


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple]:
    """Runs a command in the test's own folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def command(*words: object) -> tuple[int, str, str]:
        code = porter.cli.exit_code([str(word) for word in words])
        return (code, *capfd.readouterr())

    return command

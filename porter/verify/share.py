"""How wrong a model may be in 16 bits: its error as a share of the one it may have.

Contract: errors of source and port against the truth, the source in float32 on the same 16-bit weights, as mean squares
of rows (prompts, or sequences of a batch). The port may be as wrong as its source, or by one ulp of the dtype at the
root mean square of the truth, whichever is more. What is above that by chance is no fault: 2.33 standard errors of the
share over the rows, 1 % of a one-sided test, are taken off what is above 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from porter.verify.rounding import ulp

_ONE_PERCENT = 2.33  # standard errors


@dataclass(frozen=True)
class Share:
    """`figure`: as measured; `chance`: its standard error over the rows; errors in ulp, root mean squares."""

    figure: float
    chance: float
    port: float
    source: float
    one_ulp: float

    @property
    def shown(self) -> float:
        """Of what is above 1, as much as is no chance."""
        return self.figure if self.figure <= 1 else max(1.0, self.figure - _ONE_PERCENT * self.chance)


def share_of(port: torch.Tensor, source: torch.Tensor, truth: torch.Tensor, dtype: torch.dtype) -> Share:
    """port, source: mean squares of errors by row, (rows,) float64; truth: the values themselves."""
    one = float(ulp(truth.square().mean().sqrt(), dtype))
    may = source if float(source.mean()) >= one**2 else torch.full_like(source, one**2)
    figure = float((port.mean() / may.mean()).sqrt())
    of_port, of_source = (float(errors.mean().sqrt()) / one for errors in (port, source))
    return Share(figure, _standard_error(port, may), of_port, of_source, one)


def _standard_error(port: torch.Tensor, may: torch.Tensor) -> float:
    """Of the root of the ratio of two means over the same rows, by the delta method; nothing is known of one row."""
    if len(port) < 2 or not bool(port.any()):
        return 0.0
    ratio = port.mean() / may.mean()
    spread = (port - ratio * may).std() / len(port) ** 0.5
    return float(spread / may.mean() / (2 * ratio.sqrt()))

"""How wrong a model's states may be: the root mean square of the port's errors beside that of its source's.

Contract: as `porter.verify.precision` has it of logits. The truth is the source in float32 on the same inputs; the port
may be as wrong as the source is, or by one ulp at the root mean square of the truth, whichever is more; what is above
that by chance, by 2.33 standard errors over the rows of the batch, is not counted. float32 results may be off by 1e-5
of the truth's largest magnitude, as in `porter.verify.forward`.
"""

from __future__ import annotations

from typing import Any

import torch

from porter.accept.probe import AGREES, DIFFERS
from porter.verify.forward import LIMIT
from porter.verify.pair import relative
from porter.verify.rounding import ulp

_ONE_PERCENT = 2.33  # standard errors, of a one-sided test


def beside_source(port: torch.Tensor, source: torch.Tensor, truth: torch.Tensor) -> dict[str, Any]:
    """Outcome, figures and detail. All (rows, ...) and on the host; `truth` in float32."""
    if port.shape != source.shape or not bool(port.isfinite().all()):
        what = "not finite" if port.shape == source.shape else f"of shape {tuple(port.shape)}"
        return {"outcome": DIFFERS, "detail": f"the port's are {what}", "figures": {}}
    if port.dtype is torch.float32:
        found = relative(port, truth)
        outcome = AGREES if found <= LIMIT else DIFFERS
        return {"outcome": outcome, "detail": f"{found:.2g} of the scale, limit {LIMIT:.2g}", "figures": {}}
    of_port, of_source = (_by_row(states.float() - truth) for states in (port, source))
    one = float(ulp(truth.square().mean().sqrt(), port.dtype))
    may = of_source if float(of_source.mean()) >= one**2 else torch.full_like(of_source, one**2)
    figure = float((of_port.mean() / may.mean()).sqrt())
    if figure > 1:
        figure = max(1.0, figure - _ONE_PERCENT * _standard_error(of_port, may))
    figures = {
        "before_ulp": float(f"{float(of_source.mean().sqrt()) / one:.4g}"),
        "after_ulp": float(f"{float(of_port.mean().sqrt()) / one:.4g}"),
        "of_limit": float(f"{figure:.4g}"),
        "differing": float(f"{float((port != source).float().mean()):.4g}"),
    }
    outcome = AGREES if figure <= 1 else DIFFERS
    return {"outcome": outcome, "detail": "", "figures": {str(port.dtype).removeprefix("torch."): figures}}


def _by_row(errors: torch.Tensor) -> torch.Tensor:
    return errors.double().square().flatten(1).mean(1)


def _standard_error(port: torch.Tensor, may: torch.Tensor) -> float:
    """Of the root of the ratio of two means over the same rows, by the delta method; nothing is known of one row."""
    if len(port) < 2:
        return 0.0
    ratio = port.mean() / may.mean()
    spread = (port - ratio * may).std() / len(port) ** 0.5
    return float(spread / may.mean() / (2 * ratio.sqrt()))

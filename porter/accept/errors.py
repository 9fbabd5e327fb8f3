"""How wrong a model's states may be: the root mean square of the port's errors beside that of its source's.

Contract: in 16 bits as `porter.verify.share` has it, over the rows of the batch; the truth is the source in float32 on
the same inputs. float32 results may be off by 1e-5 of the truth's largest magnitude, as in `porter.verify.forward`.
"""

from __future__ import annotations

from typing import Any

import torch

from porter.accept.probe import AGREES, DIFFERS
from porter.verify.forward import LIMIT
from porter.verify.pair import relative
from porter.verify.share import share_of


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
    share = share_of(of_port, of_source, truth, port.dtype)
    figures = {
        "before_ulp": float(f"{share.source:.4g}"),
        "after_ulp": float(f"{share.port:.4g}"),
        "of_limit": float(f"{share.shown:.4g}"),
        "differing": float(f"{float((port != source).float().mean()):.4g}"),
    }
    outcome = AGREES if share.shown <= 1 else DIFFERS
    return {"outcome": outcome, "detail": "", "figures": {str(port.dtype).removeprefix("torch."): figures}}


def _by_row(errors: torch.Tensor) -> torch.Tensor:
    return errors.double().square().flatten(1).mean(1)

"""bf16 and fp16 by the error rule: a port may be as wrong as its source is, never more.

Contract: the truth is the source in fp32 on the same 16-bit weights. Source and port run in the dtype, a prompt and
cached steps, over several prompts; the error of a model is the root mean square of its logits' errors over all of them.
The port's may not exceed the source's, or one ulp at the logits' own root mean square, whichever is more. The source is
as wrong as its worse attention implementation is: the other one is asked where the port is not as close as the first.

Why not the worst single error: through a whole model it is chance. Six ports, all better in sum, had the larger worst
error in 4 of 20 cases. Ports whose norms and products round less often than the source's come out at 0.85 to 0.93 of
its error, and the vector width that a CPU computes with (AVX-512, AVX2, SSE4.2) moves that by 0.015 at most. Ports
that only change the order of equal work come out at 0.98 to 1.007, which is chance: over 64 prompts in place of 16, at
1.001 with a standard error of 0.003. The source's own eager attention against its sdpa comes out at 0.99 to 1.07.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from porter.verify.finding import Measured
from porter.verify.implementations import other_implementation
from porter.verify.pair import Pair, load, write_checkpoint
from porter.verify.rounding import ulp

PROMPTS = 16


def precision(pair: Pair, dtype: torch.dtype) -> Measured:
    """Figure: the port's error as a share of the error it may have."""
    with tempfile.TemporaryDirectory() as folder:
        source_class, port_class = type(pair.source), type(pair.port)
        write_checkpoint(source_class, pair.config, Path(folder), dtype)
        truth = _logits(load(source_class, Path(folder), torch.float32), pair)
        errors = [_logits(load(kind, Path(folder), dtype), pair) - truth for kind in (source_class, port_class)]
        source, port = map(_mean, errors)
        other = other_implementation(pair.source)
        if port > source and other is not None:
            otherwise = load(source_class, Path(folder), dtype, attn_implementation=other)
            source = max(source, _mean(_logits(otherwise, pair) - truth))
    one = float(ulp(truth.square().mean().sqrt(), dtype))
    worst = [float(error.abs().max()) / one for error in errors]
    detail = f"rms {port / one:.3f} ulp, the source's {source / one:.3f}; worst {worst[1]:.1f} and {worst[0]:.1f}"
    return Measured(port / max(source, one), 1.0, "of the error it may have", detail)


def _mean(error: torch.Tensor) -> float:
    """The root of the mean square."""
    return float(error.square().mean().sqrt())


def _logits(model: Any, pair: Pair) -> torch.Tensor:
    """Logits of prompts of 9 tokens and 3 cached steps each, (prompts, 2, 12, V) in fp32."""
    rows = []
    for seed in range(PROMPTS):
        past, ids = None, pair.prompts(2, 12, seed)
        with torch.no_grad():
            pieces = []
            for piece in ids.split([9, 1, 1, 1], dim=1):
                output = model(piece, past_key_values=past, use_cache=True)
                past = output.past_key_values
                pieces.append(output.logits.float())
        rows.append(torch.cat(pieces, dim=1))
    return torch.stack(rows)

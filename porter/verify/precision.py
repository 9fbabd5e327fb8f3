"""bf16 and fp16 by the error rule: a port may be as wrong as its source is, never more.

Contract: the truth is the source in fp32 on the same 16-bit weights. Source and port run in the dtype, a prompt and
cached steps, over several prompts; the error of a model is the root mean square of its logits' errors over all of them.
The port's may not exceed the source's, or one ulp at the logits' own root mean square, whichever is more.

Why not the worst single error: through a whole model it is chance. Six ports, all better in sum, had the larger worst
error in 4 of 20 cases. The sum needs no allowance so far: ported models come out at 0.85 to 0.93 of the source's error,
and the vector width that a CPU computes with (AVX-512, AVX2, SSE4.2) moves that by 0.015 at most.
The source's own eager attention against its sdpa comes out at 0.99 to 1.07, so a port that only changes the order of
equal work may fail here; that is then to be looked at, not waved through.

A port of equal error would come out above 1 in every second run, by chance. So what is not below 1 with 16 prompts is
measured with 64, and fails where its error is shown to be larger than chance makes it (`share`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from porter.runtime.cache_name import returned_cache, with_cache
from porter.verify.finding import Measured
from porter.verify.pair import Pair, load, write_checkpoint
from porter.verify.share import share_of

FEW, MANY = 16, 64  # prompts


def precision(pair: Pair, dtype: torch.dtype) -> Measured:
    """Figure: the port's error as a share of the error it may have; of what is above 1, as much as is no chance."""
    with tempfile.TemporaryDirectory() as folder:
        source_class, port_class = type(pair.source), type(pair.port)
        write_checkpoint(source_class, pair.config, Path(folder), dtype)
        truth_model = load(source_class, Path(folder), torch.float32)
        models = [load(kind, Path(folder), dtype) for kind in (source_class, port_class)]
    for prompts in (FEW, MANY):
        truth = _logits(truth_model, pair, prompts)
        errors = [_logits(model, pair, prompts) - truth for model in models]
        source, port = (error.square().mean(dim=(1, 2, 3)).double() for error in errors)  # by prompt
        share = share_of(port, source, truth, dtype)
        if share.figure <= 1:
            break
    worst = [float(error.abs().max()) / share.one_ulp for error in errors]
    detail = f"rms {share.port:.3f} ulp, the source's {share.source:.3f}; worst {worst[1]:.1f} and {worst[0]:.1f}"
    if share.figure > 1:
        detail += f"; {share.figure:.4f} with a standard error of {share.chance:.4f} over {MANY} prompts"
    return Measured(share.shown, 1.0, "of the error it may have", detail)


def _logits(model: Any, pair: Pair, prompts: int) -> torch.Tensor:
    """Logits of prompts of 9 tokens and 3 cached steps each, (prompts, 2, 12, V) in fp32."""
    rows = []
    for seed in range(prompts):
        past, ids = None, pair.prompts(2, 12, seed)
        with torch.no_grad():
            pieces = []
            for piece in ids.split([9, 1, 1, 1], dim=1):
                output = model(piece, **with_cache(model, past), use_cache=True)
                past = returned_cache(output)
                pieces.append(output.logits.float())
        rows.append(torch.cat(pieces, dim=1))
    return torch.stack(rows)

"""Prefill and decode of the port beside its source, and how near a decode step comes to the memory's bandwidth.

Contract: as `porter bench` measures. On the CPU a very small shape, to show that it runs; on a device in bfloat16, and
of the sizes asked for in as many layers as fit into half of its memory, both models at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from porter.accept.configuration import Sizes
from porter.accept.judge import first_line
from porter.accept.probe import NOT_RUN, NOTED, Say
from porter.accept.report_probes import At
from porter.bench.generation import MODES, SMALL, Shape, compare
from porter.parallel.by_layer import each_layer
from porter.verify.port import Port

_ROUNDS = {"cpu": 1}
_OTHERWISE = 5
_QUICK = Shape("one layer of 64", 64, 1, 4, 2, prompt=16, steps=6, vocabulary=256)
_SHARE = 0.5


def times(port: Port, at: At, sizes: Sizes, memory: int | None, say: Say) -> None:
    """Say an entry for each phase in each mode."""
    rounds = _ROUNDS.get(at.sides.device.type, _OTHERWISE)
    for shape in _shapes(at.sides.device, sizes, memory):
        for mode in MODES:
            try:
                found = list(compare(port, (shape,), (mode,), rounds, device=at.sides.device, backend=at.backend))
            except (RuntimeError, ValueError, TypeError) as error:
                say({"call": f"{shape}, {mode}", "outcome": NOT_RUN, "detail": first_line(error)})
                continue
            for comparison in found:
                for ratio in comparison.ratios:
                    say({"call": f"{shape}, {mode}, {ratio.phase}", "outcome": NOTED, **_told(comparison, ratio)})


def _told(comparison: Any, ratio: Any) -> dict[str, Any]:
    least, most = ratio.spread
    text = f"{ratio.ratio:.2f} of the source's {ratio.source_ms:.3g} ms ({least:.2f} to {most:.2f})"
    entry: dict[str, Any] = {"ms": round(ratio.port_ms, 4), "source_ms": ratio.source_ms, "ratio": ratio.ratio}
    if ratio.phase == "decode":
        entry["bandwidth_share"] = comparison.bandwidth_share(ratio.port_ms)
        text += f"; {entry['bandwidth_share']:.1%} of the memory's bandwidth, {comparison.bandwidth / 1e9:.0f} GB/s"
    return {**entry, "detail": text}


def _shapes(device: torch.device, sizes: Sizes, memory: int | None) -> tuple[Shape, ...]:
    if device.type == "cpu":
        return (_QUICK,)
    wide = _of(sizes, memory)
    return (replace(SMALL, dtype=torch.bfloat16), *([wide] if wide is not None else []))


def _of(sizes: Sizes, memory: int | None) -> Shape | None:
    """The widths of the configuration, of its first layer where they differ, where it has them by these names."""
    config = each_layer(sizes.config.get_text_config(decoder=True))[0]
    names = ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers")
    found = [getattr(config, name, None) for name in names]
    if not all(isinstance(value, int) for value in found) or memory is None:
        return None
    hidden, heads, inner, layers = (int(value) for value in found if value is not None)
    a_layer = 2 * (4 * hidden * hidden + 3 * hidden * inner) * 2  # bytes, in both models
    fit = max(min(layers, int(memory * _SHARE) // a_layer), 1)
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    name = f"{sizes.name}, {fit} of {layers} layers"
    return Shape(name, hidden, fit, heads, kv_heads, prompt=1024, dtype=torch.bfloat16, intermediate=inner)

"""Parity of files, and of what a port leaves behind in the process.

Contract: a checkpoint the port writes holds, by name, dtype and bits, the tensors that the source writes having read
the same one, and the source class reads it; having loaded the port, the source class loads and computes bit for bit as
before.
"""

from __future__ import annotations

import json
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from porter.verify.finding import Measured
from porter.verify.pair import NotApplicable, Pair, load


def round_trip(pair: Pair) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        pair.port.save_pretrained(folder)
        with tempfile.TemporaryDirectory() as other:
            # Some sources change weights as they read them: a row of padding. Saving writes into the configuration.
            deepcopy(pair.source).save_pretrained(other)
            ours, theirs = _tensors(Path(folder)), _tensors(Path(other))
        kept = json.loads((Path(folder) / "config.json").read_text())["architectures"]
        loaded = load(type(pair.source), Path(folder))
    names = sorted(ours.keys() ^ theirs.keys())
    wrong = names + [name for name in ours.keys() & theirs.keys() if not _same_bits(ours[name], theirs[name])]
    if kept != [type(pair.source).__name__]:
        wrong.append(f"architectures {kept}")
    state, read = pair.source.state_dict(), loaded.state_dict()
    wrong += [f"{name} as the source reads it" for name in state if not _same_bits(state[name], read[name])]
    return Measured(float(len(wrong)), 0.0, "tensors differ", ", ".join(wrong[:3]) or f"{len(theirs)} tensors")


def other_activation(pair: Pair) -> Measured:
    """Another activation than the one ported is an error when the model is built, or computed rightly."""
    config = pair.config.__class__.from_dict(pair.config.to_dict())
    field = next(
        (name for name in ("hidden_act", "hidden_activation", "activation_function") if name in vars(config)), ""
    )
    if not field or not isinstance(getattr(config, field), str):
        raise NotApplicable("the configuration has no field for the activation")
    present = getattr(config, field)
    setattr(config, field, "gelu" if present in ("silu", "swish") else "silu")
    state = pair.source.state_dict()
    source = type(pair.source)._from_config(config).eval()
    if source.state_dict().keys() != state.keys():
        raise NotApplicable("the activation has parameters of its own")
    source.load_state_dict(state)
    try:
        port = type(pair.port)._from_config(config).eval()
    except ValueError as error:
        return Measured(0.0, 1e-5, "of the scale", f"ValueError: {error}"[:120])
    port.load_state_dict(state)
    ids = pair.prompts(1, 5)
    with torch.no_grad():
        theirs, ours = source(ids).logits, port(ids).logits
    figure = float((ours - theirs).abs().max() / theirs.abs().max())
    return Measured(figure, 1e-5, "of the scale", f"{getattr(config, field)} in place of {present}")


def source_unaffected(source_class: Any, folder: Path, before: dict[str, torch.Tensor], pair: Pair) -> Measured:
    """Load the source again, after the port: the same names, the same bits, the same logits."""
    after = fingerprint(source_class, folder)
    wrong = sorted(before.keys() ^ after.keys())
    wrong += [name for name in before.keys() & after.keys() if not torch.equal(before[name], after[name])]
    if type(pair.port) is source_class or isinstance(pair.port, source_class):
        wrong.append("the port is the source class")
    return Measured(float(len(wrong)), 0.0, "tensors differ", ", ".join(wrong[:3]) or f"{len(before) - 1} tensors")


def fingerprint(source_class: Any, folder: Path) -> dict[str, torch.Tensor]:
    """The source's state and its logits, loaded afresh."""
    model = load(source_class, folder)
    with torch.no_grad():
        return {**model.state_dict(), "logits": model(torch.arange(3, 10)[None]).logits}


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)


CHECKS = {
    "save_pretrained": round_trip,
    "another activation": other_activation,
}

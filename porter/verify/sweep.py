"""Every converted model, tiny, against its source: logits, tokens, one process each.

Compared are fp32 logits of one call, under sdpa and under the source's eager attention, and eight greedy tokens.

Contract: a model that crashes, hangs or eats memory costs its own line only. The parent imports the libraries once and
computes nothing, so that a fork is cheap and safe.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from porter.diagnostics import Refused
from porter.verify.implementations import other_implementation, otherwise
from porter.verify.pair import NpuOps, Pair, load, relative, write_checkpoint
from porter.verify.parity import quiet
from porter.verify.port import Port, open_to_compare
from porter.verify.tiny import special_input, tiny_config

LIMIT = 1e-5
STEPS = 8
PROMPT = 11  # with the steps, past a tiny sliding window of 8
PADDING = 4  # of the first of two prompts, on the left
Progress = Callable[[str, int, int], None]  # what, done, of how many


@dataclass(frozen=True)
class Swept:
    """One model. outcome: `equal`, `different` or `error`; figure: logits' largest difference over their scale."""

    model_type: str
    directory: Path
    outcome: str
    figure: float | None
    detail: str
    seconds: float


def sweep(
    ports: Sequence[tuple[str, Path]], *, seconds: float = 60.0, jobs: int = 2, progress: Progress | None = None
) -> tuple[Swept, ...]:
    """Compare each (model type, folder of the port), at most `jobs` at once, `seconds` each; in the given order."""
    context = multiprocessing.get_context("fork")
    waiting = list(enumerate(ports))
    running: dict[Connection, tuple[int, Any, float]] = {}
    done: dict[int, Swept] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            index, (_, directory) = waiting.pop(0)
            receiver, sender = context.Pipe(duplex=False)
            child = context.Process(target=_child, args=(sender, directory), daemon=True)
            child.start()
            sender.close()
            running[receiver] = (index, child, time.monotonic())
        ready = wait(list(running), timeout=0.2)
        for receiver, (index, child, started) in list(running.items()):
            spent = time.monotonic() - started
            if receiver not in ready and spent < seconds:
                continue
            found = (
                _received(receiver, seconds) if receiver in ready else ("error", None, f"no answer in {seconds:g} s")
            )
            child.kill()  # it has answered, or never will
            child.join()
            receiver.close()
            del running[receiver]
            model_type, directory = ports[index]
            done[index] = Swept(model_type, directory, *found, seconds=round(spent, 2))
            if progress is not None:
                progress(ports[index][0], len(done), len(ports))
    return tuple(done[index] for index in range(len(ports)))


def _received(receiver: Connection, seconds: float) -> tuple[str, float | None, str]:
    try:
        return receiver.recv()
    except EOFError:
        return "error", None, "the process died"


def _child(sender: Connection, directory: Path) -> None:
    try:
        port = open_to_compare(directory)
        with quiet():
            answer = ("error", None, port.diagnostics[0].message) if isinstance(port, Refused) else _compare(port)
    except BaseException as error:  # whatever a model does is its line in the report
        first = (str(error).strip().splitlines() or [""])[0]
        answer = ("error", None, f"{type(error).__name__}: {first}"[:300])
    sender.send(answer)
    sender.close()


def _compare(port: Port) -> tuple[str, float | None, str]:
    source_class = port.load_source_class()
    if isinstance(source_class, Refused):
        return "error", None, source_class.diagnostics[0].message
    with tempfile.TemporaryDirectory() as name:
        write_checkpoint(source_class, tiny_config(source_class.config_class), Path(name))
        source = load(source_class, Path(name))
        pair = Pair(source, load(port.load_class(), Path(name)), source.config, Path(name))
        other = otherwise(pair) if other_implementation(source) else None
    asked = _inputs(pair)
    with NpuOps() as ops:
        figure = _figure_of(pair, asked)
    if other is not None:
        figure = max(figure, _figure_of(other, asked))
    tokens = [
        model.generate(**asked, max_new_tokens=STEPS, min_new_tokens=STEPS, do_sample=False)
        for model in (pair.source, pair.port)
    ]
    same = tokens[0].shape == tokens[1].shape and bool((tokens[0] == tokens[1]).all())
    if figure <= LIMIT and same:
        return "equal", figure, f"{STEPS} tokens; {str(ops) or 'no NPU ops'}"
    return "different", figure, f"tokens {'equal' if same else 'differ'}, logits off by {figure:.1e} of their scale"


def _figure_of(pair: Pair, asked: dict[str, Any]) -> float:
    """How far the logits differ in one call; what stands at a padding position is nobody's result."""
    with torch.no_grad():
        theirs, ours = (model(**asked).logits for model in (pair.source, pair.port))
    real = asked.get("attention_mask")
    return relative(ours, theirs) if real is None else relative(ours[real.bool()], theirs[real.bool()])


def _inputs(pair: Pair) -> dict[str, Any]:
    kind = special_input(pair.config.model_type)
    if kind == "codebooks":  # a row of tokens for each codebook of a sequence
        return {"input_ids": pair.prompts(pair.config.num_codebooks, 5)}
    if kind == "backbone_states":
        generator = torch.Generator().manual_seed(0)
        states = torch.randn((1, pair.config.backbone_hidden_size), generator=generator)
        return {"input_ids": pair.prompts(1, 3), "backbone_last_hidden_state": states}
    ids = pair.prompts(2, PROMPT)
    mask = torch.ones_like(ids)
    mask[0, :PADDING] = 0
    return {"input_ids": ids, "attention_mask": mask}

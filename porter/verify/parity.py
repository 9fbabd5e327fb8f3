"""Does a port compute what its source computes: every check, on every variant of a tiny configuration, with figures.

Contract: source and port run in this process on the CPU; files are temporary. A check that raises has failed, and says
what was raised. What does not apply comes back as `not applicable` with the reason: it has not passed. That the kernels
compute the same on a device is another claim.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from porter.diagnostics import Refused
from porter.verify import checkpoints, forward, generation, implementations
from porter.verify.finding import FAILED, NOT_APPLICABLE, PASSED, Check, Measured
from porter.verify.pair import NotApplicable, Pair, load, write_checkpoint
from porter.verify.port import Port, open_to_compare
from porter.verify.precision import precision
from porter.verify.tiny import Variant, tiny_config, variants

Progress = Callable[[str, int, int], None]  # what, done, of how many
Asked = Callable[[Pair], Measured]
_LARGEST = 50_000_000  # parameters of a model that is small
_EVERYWHERE = {**forward.CHECKS, **generation.CHECKS, **implementations.CHECKS, **checkpoints.CHECKS}
_PRECISION: dict[str, Asked] = {
    "bf16 by the error rule": partial(precision, dtype=torch.bfloat16),
    "fp16 by the error rule": partial(precision, dtype=torch.float16),
}
# What only the shape of the code decides is asked once.
_ONCE = ("NPU ops run", "attention weights", "foreign cache", "another activation", "past the last slot")


def verify(
    directory: Path,
    *,
    quick: bool = False,
    progress: Progress | None = None,
    edited: bool = False,
    trust_remote_code: bool = False,
) -> tuple[Check, ...] | Refused:
    """Check the port in `directory`; `quick` takes the base configuration only.

    Refused where there is no port, where it was changed unless `edited`, where what it was made from is gone, changed,
    or does not load; and for code out of a folder without consent (see `porter.emit.consent`).
    """
    port = open_to_compare(directory, edited=edited, trust_remote_code=trust_remote_code)
    if isinstance(port, Refused):
        return port
    with quiet():
        source_class = port.load_source_class()
        if isinstance(source_class, Refused):
            return source_class
        return tuple(_checks(port, source_class, quick, progress or (lambda what, done, total: None)))


def _checks(port: Port, source_class: Any, quick: bool, progress: Progress) -> Iterator[Check]:
    given = port.origin.configuration()
    fault = None if given is None else _refusal(source_class, given)
    if fault is not None:
        detail = f"made small, the source class raises {fault}: the defaults of the class are taken"
        yield Check("the folder's config.json", "base", NOT_APPLICABLE, detail=detail)
        given = None
    kinds = variants(source_class.config_class, given)
    if quick:
        kinds = kinds[:1]
    for index, variant in enumerate(kinds):
        progress(variant.name, index, len(kinds))
        yield from _variant(port, source_class, variant, given)
    progress("", len(kinds), len(kinds))


def _refusal(source_class: Any, given: dict[str, Any]) -> str | None:
    """Why the source makes no small model of this configuration."""
    try:
        config = tiny_config(source_class.config_class, given)
        parameters = _count(source_class, config)
        if parameters > _LARGEST:
            return f"no error, but has {parameters} parameters"
        model = source_class(config)
        model(torch.arange(3, 10)[None])
    except Exception as error:  # somebody else's code
        return _told(error)
    return None


def _count(source_class: Any, config: Any) -> int:
    """Parameters of such a model; 0 where it cannot be made without memory."""
    try:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in source_class(copy.deepcopy(config)).parameters())
    except Exception:  # code that computes when it is built
        return 0


def _variant(port: Port, source_class: Any, variant: Variant, given: dict[str, Any] | None) -> Iterator[Check]:
    """All checks on one configuration; one line where the source itself does not take it."""
    if variant.reason:
        yield Check("all", variant.name, NOT_APPLICABLE, detail=variant.reason)
        return
    with tempfile.TemporaryDirectory() as name:
        folder, first = Path(name), variant.name == "base"
        try:
            write_checkpoint(source_class, tiny_config(source_class.config_class, given, **variant.overrides), folder)
            before = checkpoints.fingerprint(source_class, folder)
        except Exception as error:  # the source's own refusal
            outcome = FAILED if first else NOT_APPLICABLE
            yield Check("all", variant.name, outcome, detail=f"the source class raises {_told(error)}")
            return
        try:
            source = load(source_class, folder)
            pair = Pair(source, load(port.load_class(), folder), source.config, folder)
        except Exception as error:
            yield Check("loads", variant.name, FAILED, detail=_told(error))
            return
        asked: dict[str, Asked] = {k: v for k, v in _EVERYWHERE.items() if first or k not in _ONCE}
        if first or variant.name == "biases":
            asked |= _PRECISION
        asked["source unaffected"] = partial(_unaffected, source_class, folder, before)
        for check, function in asked.items():
            yield _ask(check, variant.name, function, pair)


def _unaffected(source_class: Any, folder: Path, before: dict[str, torch.Tensor], pair: Pair) -> Measured:
    return checkpoints.source_unaffected(source_class, folder, before, pair)


def _ask(name: str, variant: str, function: Asked, pair: Pair) -> Check:
    try:
        return _check(name, variant, function(pair))
    except NotApplicable as reason:
        return Check(name, variant, NOT_APPLICABLE, detail=str(reason))
    except Exception as error:  # a port's code may raise anything
        return Check(name, variant, FAILED, detail=_told(error))


def _check(name: str, variant: str, found: Measured) -> Check:
    outcome = PASSED if found.passed else FAILED
    return Check(name, variant, outcome, found.figure, found.limit, found.unit, found.detail)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:500]


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' warnings, which are about checkpoints and prompts of users; here both are made.

    One thread: models this small only lose by more, ten times so where the cores are shared.
    """
    level, bars, threads = logging.get_verbosity(), logging.is_progress_bar_enabled(), torch.get_num_threads()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()

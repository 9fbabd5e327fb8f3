"""Proof of the identities of a folder of rules: every spelling gives the same bits, in every floating dtype.

`proof_same_<value>(draw)` gives the arguments; without one, every parameter is a tensor of shape (2, 7, 64).
Infinities, NaN, zeros of both signs and the smallest numbers are among its values. The payload of a NaN does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from porter.rulebook.identities import Identities, Spelling
from porter.tree.functions import parameters_of
from porter.verify.draw import Draw

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_SPECIAL = (float("inf"), float("-inf"), float("nan"), 0.0, -0.0, 1e-45, -6e-8, 1e-30, 65504.0, 3e38)
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}

Values = dict[str, Any]


def faults_of(identities: Identities, seeds: int) -> Iterator[str]:
    """What two spellings of one value differ in, each named with its file and line."""
    namespaces: dict[str, Values | None] = {}  # of each file that they stand in; None: it does not run
    for alike in identities.spellings:
        first = alike[0]
        tree = first.identity.file
        if tree.text not in namespaces:
            namespaces[tree.text] = {}
            try:
                exec(compile(tree.text, tree.display, "exec"), namespaces[tree.text])
            except Exception as error:  # the file's own code: whatever it raises is a finding
                namespaces[tree.text] = None
                yield f"`{tree.display}` does not run: {type(error).__name__}: {error}"
        namespace = namespaces[tree.text]
        if namespace is None:
            continue
        arguments = namespace.get(f"proof_{first.identity.name}") or _tensors(first)
        runs = [(spelling, _runnable(spelling, namespace)) for spelling in alike]
        for dtype in DTYPES:
            try:
                found = (_differs(runs, arguments, dtype, seed) for seed in range(seeds))
                fault = next(filter(None, found), None)
            except Exception as error:  # of its proof
                fault = f"`proof_{first.identity.name}` does not run: {type(error).__name__}: {error}"
            if fault is not None:
                yield f"`{first.identity.name}`: {fault}"


Run = Callable[[Values], torch.Tensor]


def _differs(
    runs: list[tuple[Spelling, Run]], arguments: Callable[[Draw], Values], dtype: torch.dtype, seed: int
) -> str | None:
    wanted = _told(runs[0][1], _with_specials(arguments(Draw(seed, dtype))))
    for spelling, run in runs[1:]:
        found = _told(run, _with_specials(arguments(Draw(seed, dtype))))
        if isinstance(wanted, str) or isinstance(found, str) or not _same_bits(wanted, found):
            file = spelling.identity.file
            place = f"line {file.line(spelling.expression)} of {file.display}"
            detail = f": {found}" if isinstance(found, str) else ""
            return f"{place} is not its first spelling in {dtype} (draw {seed}){detail}"
    return None


def _told(run: Run, values: Values) -> torch.Tensor | str:
    try:
        return run(values)
    except Exception as error:  # the identity's own code: whatever it raises is a finding
        return f"{type(error).__name__}: {error}"


def _same_bits(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):  # the values and places of a topk
        return len(one) == len(other) and all(map(_same_bits, one, other))
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return type(one) is type(other) and bool(one == other)
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    bits = [value.contiguous().view(_BITS[value.element_size()]) for value in (one, other)]
    return bool(((bits[0] == bits[1]) | (one.isnan() & other.isnan())).all())


def _runnable(spelling: Spelling, namespace: Values) -> Run:
    file = spelling.identity.file
    compiled = compile(file.code(spelling.expression), file.display, "eval")
    return lambda values: eval(compiled, namespace, values)


def _tensors(spelling: Spelling) -> Callable[[Draw], Values]:
    names = [parameter.name.value for parameter in parameters_of(spelling.identity.before)]
    return lambda draw: {name: draw.normal(2, 7, 64) for name in names}


def _with_specials(values: Values) -> Values:
    """The arguments, with special numbers at the start of every tensor, at other places of each."""
    for shift, value in enumerate(value for value in values.values() if isinstance(value, torch.Tensor)):
        special = torch.tensor(_SPECIAL, dtype=torch.float64).to(value.dtype).roll(3 * shift)
        value.view(-1)[: len(special)] = special[: value.numel()]
    return values

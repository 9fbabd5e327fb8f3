"""Proofs of rules: `after` computes what `before` computes, on random draws, and code that must not match does not.

A single-edit rule brings `proof(draw)`: the arguments of both sides, or a pair of them where the sides differ (the
polarity of a mask). Names that are not parameters are globals of the call. `proof__<variant>` is for
`before__<variant>`; without one, the plain proof serves every spelling. What is compared: the value returned, or for
statements the locals that both sides assign and the edit does not call private.

A rule of several edits brings `proof_before(draw)` and `proof_after(draw)`, each called with the same draw, and
results to compare. They should call the rule's own functions: those that ran are in the figures, and a proof that
calls none of them proves nothing.

A verdict needs no proof: what is shown is that its near misses do not match. One that says a fused form is not exact
brings that form as `proof_after`, and passes where it is not: where it breaks the error rule.

Error rule: see `porter.verify.error_rule`. A rule without a proof, or without `not_*` cases, is `unproved`: not passed.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import libcst as cst
import torch

from porter.diagnostics import Refused
from porter.match import PatternMatcher
from porter.match.conditions import exchanged_parameter
from porter.match.found import Hit
from porter.match.soundness.values import used_by_what_stays
from porter.npu import current_chip
from porter.rule import Edit
from porter.rulebook import IDENTITIES, LoadedEdit, LoadedRule, Pattern, load_rules, names_to_prove, unknown_rule
from porter.rulebook.identities import Identities
from porter.rulebook.markers import is_gap
from porter.shipped import shipped
from porter.tree import Function
from porter.tree.functions import body_of
from porter.verify.draw import Draw
from porter.verify.error_rule import Figures, compare
from porter.verify.executable import Executable, call, execute
from porter.verify.float64 import InFloat64
from porter.verify.identities import faults_of

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
Progress = Callable[[str, int, int], None]  # what, done, of how many


@dataclass(frozen=True)
class Proof:
    """What is known of one rule.

    status:  `passed`, `failed`, or `unproved` where the rule brings nothing to show.
    figures: dtype -> before_ulp, after_ulp, of_limit, differing (share of elements), over all draws; `draws`, of each
             dtype; `negatives`, cases that must not match; `not_run`, functions of the rule that no proof called.
    """

    name: str
    status: str
    figures: dict[str, Any]
    detail: str
    claim: str

    @property
    def passed(self) -> bool:
        return self.status == "passed"


@dataclass(frozen=True)
class _Sides:
    """One thing to prove: two functions of a draw."""

    name: str
    before: Callable[[Draw], Any]
    after: Callable[[Draw], Any]


@dataclass
class _Findings:
    figures: dict[torch.dtype, Figures] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)


def prove(
    names: tuple[str, ...] = (),
    rules_dir: Path | None = None,
    seeds: int = 64,
    progress: Progress | None = None,
    rules: tuple[LoadedRule, ...] | None = None,
) -> tuple[Proof, ...] | Refused:
    """Prove the named rules, or all. Refused for a rule file that does not load (P030) or an unknown name (P042).

    rules: loaded before, to be proved; else those of `rules_dir`, else those that come with porter.
    """
    found = rules or load_rules(rules_dir or shipped("rules"), proving=True)
    if isinstance(found, Refused):
        return found
    rules = found
    unknown = unknown_rule(names, rules)
    if unknown is not None:
        return unknown
    chosen = [rule for rule in rules if not names or rule.name in names]
    proofs = []
    if IDENTITIES in (names or names_to_prove(rules)):
        proofs.append(prove_identities(_every_identity(rules), seeds))
    for index, rule in enumerate(chosen):
        if progress is not None:
            progress(rule.name, index, len(chosen))
        proofs.append(prove_rule(rule, seeds))
    if progress is not None:
        progress("", len(chosen), len(chosen))
    return tuple(proofs)


def _every_identity(rules: tuple[LoadedRule, ...]) -> Identities:
    """Those of porter, then those of each folder, each once: every rule has porter's and its own folder's."""
    every = (alike for rule in rules for alike in rule.identities.spellings)
    return Identities(tuple({(one[0].identity.file.text, one[0].identity.name): one for one in every}.values()))


def prove_identities(identities: Identities, seeds: int = 64) -> Proof:
    """Prove that the spellings of each value are one value, bit for bit."""
    faults = list(faults_of(identities, seeds))
    count = sum(map(len, identities.spellings))
    claim = f"{count} spellings of {len(identities.spellings)} values: {'differ' if faults else 'the same bits'}"
    figures = {"draws": seeds, "spellings": count}
    return Proof(IDENTITIES, "failed" if faults else "passed", figures, "; ".join(faults), f"{claim}; kernel: not run")


def prove_rule(rule: LoadedRule, seeds: int = 64) -> Proof:
    """Prove one rule on `seeds` draws in each of float32, bfloat16 and float16."""
    findings = _Findings()
    for absent in _choices(rule):
        try:
            executable = execute(rule, absent)
        except Exception as error:  # the rule's own code: whatever it raises is a finding
            findings.failed.append(f"the file does not run: {_told(error, rule)}")
            break
        if rule.is_verdict:
            _show_inexact(rule, executable, seeds, findings)
        else:
            _run(rule, executable, max(seeds // 8, 1) if absent else seeds, findings)
    if any(loaded.patterns for loaded in rule.edits):
        _check_negatives(rule, findings)
    figures: dict[str, Any] = {str(d).removeprefix("torch."): f.as_dict() for d, f in findings.figures.items()}
    figures |= {"draws": seeds, "negatives": len(rule.code.negatives), "not_run": findings.not_run}
    status = "failed" if findings.failed else "unproved" if findings.missing else "passed"
    notes = [f"not run by the proof: {', '.join(findings.not_run)}"] if findings.not_run else []
    claim = f"algebra proved on {seeds * len(DTYPES)} draws" if status == "passed" else f"algebra {status}"
    if rule.is_verdict and status == "passed":
        claim = "verdict: the fused form is not exact" if findings.figures else "verdict: nothing is changed"
    detail = "; ".join([*findings.failed, *findings.missing, *notes])
    return Proof(rule.name, status, figures, detail, f"{claim} (as {current_chip()}); kernel: not run")


def _choices(rule: LoadedRule) -> list[frozenset[int]]:
    """Numbers of optional parts to prove the rule without: none, each by itself, all of them."""
    every = {number for loaded in rule.edits for pattern in loaded.patterns for number in pattern.absent}
    return list(dict.fromkeys([frozenset(), *(frozenset({number}) for number in sorted(every)), frozenset(every)]))


# -- running both sides


def _run(rule: LoadedRule, executable: Executable, seeds: int, findings: _Findings) -> None:
    sides = list(_sides(rule, executable, findings))
    for side in sides:
        for dtype in DTYPES:
            try:
                fault = next(filter(None, (_draw_once(side, dtype, seed, findings) for seed in range(seeds))), None)
            except Exception as error:
                fault = f"{str(dtype).removeprefix('torch.')}: {_told(error, rule)}"
            if fault:
                findings.failed.append(f"{side.name}: {fault}")
    if sides and not findings.failed:
        own = [n for n in executable.functions if n.startswith(("before", "after"))]
        findings.not_run += [name for name in own if name not in executable.ran]
        if not executable.ran:
            findings.missing.append("the proof runs none of the rule's own functions")


def _show_inexact(rule: LoadedRule, executable: Executable, seeds: int, findings: _Findings) -> None:
    """The fused form that a verdict turns down, where it brings one, must break the error rule."""
    tried = _Findings()
    if any(name.startswith("proof_before") for name in executable.functions):
        _run(rule, executable, seeds, tried)
        findings.figures = tried.figures
        if not tried.failed:
            findings.failed.append("the fused form that it turns down is exact")


def _draw_once(side: _Sides, dtype: torch.dtype, seed: int, findings: _Findings) -> str | None:
    """Run both sides and the truth on one draw; what is wrong, or None."""
    draw = Draw(seed, dtype)
    with torch.no_grad():
        with InFloat64():
            truth = side.before(draw.in_float64())
        before = side.before(draw)
        after = side.after(draw.again())
    faults = compare(before, after, truth, findings.figures)
    return f"draw {seed}: {faults[0]}" if faults else None


def _sides(rule: LoadedRule, executable: Executable, findings: _Findings) -> Iterator[_Sides]:
    written = [name for name in executable.functions if name == "proof_before" or name.startswith("proof_before__")]
    for name in written:
        variant = name[len("proof_before") :]
        after = executable.get(f"proof_after{variant}") or executable.get("proof_after")
        if after is None:
            findings.missing.append(f"`{name}` has no `proof_after`")
        else:
            yield _Sides(name.removeprefix("proof_"), executable.functions[name], after)
    if written:
        return
    if len(rule.edits) > 1:
        findings.missing.append("no `proof_before` and `proof_after`, which a rule of several edits needs")
        return
    for pattern in rule.edits[0].patterns:
        if pattern.absent != executable.absent:
            continue
        variant = pattern.name[len("before") :]
        proof = executable.get(f"proof{variant}") or executable.get("proof")
        if proof is None:
            findings.missing.append(f"no `proof` for `{pattern.name}`")
        else:
            yield _single(rule.edits[0], pattern, proof, executable)


def _single(edit: LoadedEdit, pattern: Pattern, proof: Callable[..., Any], executable: Executable) -> _Sides:
    assert pattern.after is not None  # only a `given` has none
    common = pattern.assigned & Pattern("", pattern.after, None, pattern.file).assigned - set(edit.edit.private)

    def run(name: str, side: int, draw: Draw) -> Any:
        arguments = proof(draw)
        arguments = arguments[side] if isinstance(arguments, tuple) else arguments
        result = call(executable.functions[name], arguments)
        if edit.edit.unit == "statements" and isinstance(result, dict) and not _returns(pattern.before):
            return {local: _plain(result[local], local in edit.edit.returned) for local in sorted(common)}
        return result

    return _Sides(pattern.name, partial(run, pattern.name, 0), partial(run, pattern.after.name.value, 1))


def _plain(value: Any, is_other_kind: bool) -> Any:
    """What is compared of a local: of one that is another kind of index behind the edit, the index."""
    return value.long() if is_other_kind else value


def _returns(function: Function) -> bool:
    return isinstance(body_of(function)[-1], cst.Return)


def _told(error: Exception, rule: LoadedRule) -> str:
    """The error with its place in the rule's files, where it passed through there."""
    files = {rule.path, *(taken.file.display for taken in rule.code.taken)}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


# -- cases that must not match


def _check_negatives(rule: LoadedRule, findings: _Findings) -> None:
    if not rule.code.negatives:
        findings.missing.append("no `not_*` case")
    for negative in rule.code.negatives:
        if all(is_gap(statement) for statement in body_of(negative.before)):
            findings.missing.append(f"`{negative.name}` holds no code")
            continue
        for loaded in rule.edits:
            for pattern in loaded.patterns:
                if matches(rule, pattern, loaded.edit, negative):
                    findings.failed.append(f"`{pattern.name}` matches `{negative.name}`, which it must not")


def matches(rule: LoadedRule, pattern: Pattern, edit: Edit, negative: Pattern) -> bool:
    """Whether the pattern matches in a `not_*` case of the rule, and may: what is private or only returned counts.

    Sites, givens and guards do not.
    """
    found = PatternMatcher(rule, pattern, negative.file).find(negative.before, edit.unit)
    hits = (Hit(edit, negative.name, None, m) for m in found if exchanged_parameter(m, negative.file) is None)
    return any(used_by_what_stays(hit, negative.file) is None for hit in hits)

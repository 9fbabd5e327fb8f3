"""What a rule lacks to be taken at its word: a proof, cases that it must not match, a kernel for an op that it writes.

Contract: looked for in the files as text. That a proof passes is for `porter prove` to say. What is written by a rule
that lacks something may compute something else, so such a rule ports nothing but where it is asked to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import libcst as cst

from porter.diagnostics import Diagnostic
from porter.rulebook.loaded import Code, LoadedRule
from porter.rulebook.ops import OpFile, ops_of_porter, used_ops
from porter.rulebook.pattern import Pattern
from porter.tree import Node

_HELP = "give it one (`porter prove {}` runs it), or convert with `--unproved`"


def lacks_of(name: str, code: Code, declaration: Node, ops: Sequence[OpFile]) -> tuple[Diagnostic, ...]:
    """P033 for a rule without a proof or without cases that it must not match, P034 for an op without a kernel."""
    place = code.tree.span(declaration)
    help = _HELP.format(name)
    missing = [*_missing_proofs(code), *([] if code.negatives or not _patterns(code) else ["a `not_*` case"])]
    found = [Diagnostic("P033", f"rule `{name}` is not proved: it has no {lack}", place, help=help) for lack in missing]
    if _changes_nothing(code):
        message = f"rule `{name}` ports nothing: its `after` is its `before`"
        found.append(Diagnostic("P033", message, place, help="write what the op computes into its `after`"))
    known = ops_of_porter().union(*(file.ops for file in ops))
    for used in (used for pattern in _patterns(code) for used in used_ops(pattern)):
        if used.op not in known:
            message = f"rule `{name}` writes `{used.written}`, an op without a kernel here: nothing of it can be proved"
            help = f"bring one, in `ops/` beside the rule, for `{used.op}`; or convert with `--unproved`"
            found.append(Diagnostic("P034", message, used.place, help=help))
            known |= {used.op}
    return tuple(found)


def _changes_nothing(code: Code) -> bool:
    """Whether every `after` is the code of its `before`."""
    patterns = _patterns(code)
    if code.is_verdict or not patterns:
        return False
    print_of = cst.Module([]).code_for_node
    return all(p.after is not None and print_of(p.before.body) == print_of(p.after.body) for p in patterns)


def ops_without_kernel(rule: LoadedRule) -> tuple[str, ...]:
    """The ops that a rule writes and nothing here computes."""
    known = ops_of_porter().union(*(file.ops for file in rule.ops))
    used = (used.op for loaded in rule.edits for pattern in loaded.patterns for used in used_ops(pattern))
    return tuple(op for op in dict.fromkeys(used) if op not in known)


def _patterns(code: Code) -> list[Pattern]:
    return [pattern for loaded in code.edits for pattern in loaded.patterns]


def _missing_proofs(code: Code) -> Iterator[str]:
    """The proofs that `porter.verify.prove` would ask for, and that are not there; a verdict needs none."""
    functions = code.tree.functions
    written = [name for name in functions if name == "proof_before" or name.startswith("proof_before__")]
    for name in written:
        after = f"proof_after{name.removeprefix('proof_before')}"
        if after not in functions and "proof_after" not in functions:
            yield f"`{after}` beside its `{name}`"
    if written or code.is_verdict:
        return
    if len(code.edits) > 1:
        yield "`proof_before` and `proof_after`, which a rule of several edits needs"
        return
    for name in dict.fromkeys(pattern.name for pattern in _patterns(code)):
        variant = name.removeprefix("before")
        if f"proof{variant}" not in functions and "proof" not in functions:
            yield f"`proof{variant}`"

"""What a port says at its beginning of ops that did not come with porter: where they are, that they must be there."""

from __future__ import annotations

from collections.abc import Iterable

from porter.rulebook import LoadedRule, ops_without_kernel

_OWN = "porter.npu.own"


def statements_for(rules: Iterable[LoadedRule]) -> tuple[str, ...]:
    """The lines that register the ops which some rules bring, and ask for those that nothing here computes."""
    rules = [rule for rule in rules if rule.folder is not None]
    files = {file.name: file for rule in rules for file in rule.ops}
    modules = [file.module for _, file in sorted(files.items())]
    asked = sorted({op for rule in rules for op in ops_without_kernel(rule)})
    if not modules and not asked:
        return ()
    names = [*(["register_ops"] if modules else []), *(["require_ops"] if asked else [])]
    lines = [f"from {_OWN} import {', '.join(names)}", *(f"from . import {module}" for module in modules), ""]
    lines += [f"register_ops({file.module})  # {', '.join(file.ops)}" for _, file in sorted(files.items())]
    quoted = ", ".join(f'"{op}"' for op in asked)
    return (*lines, *([f"require_ops({quoted})"] if asked else []))

"""Rule files: real PyTorch code in `before`/`after` pairs, read by porting as text and run by proofs as Python.

A rule file holds one assignment `rule = Rule(...)` and the functions it speaks of. With one edit the functions are
`before` and `after`; with several, `before_<edit>` and `after_<edit>`. `__<variant>` behind a `before` is another
spelling; its `after` is `after...__<variant>` where there is one, else the plain one. `given_<function>` is a function
the module must define in just that way, or in that of one of its variants; `not_<case>` is code that must not match;
`proof` gives the arguments a proof runs both sides with. `given_*` and `not_*` may be taken from a shared file: see
`rule_file`.

`Rule` and `Edit` are plain data: importing this module, or a rule file, registers nothing.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from porter.diagnostics import Refused
from porter.parse import Function, Import, Parsed, arguments_of, body_of, stored_names
from porter.rule_file import PREFIXES, SharedFiles, Taken, broken, identity, is_of_rules, read_rule_file

ROLES = ("norm", "rotary", "attention", "mlp", "experts", "layer", "model", "causal")
UNITS = ("expression", "expressions", "statements", "function")


@dataclass(frozen=True)
class Edit:
    """One place a rule changes.

    site:    `<role>.<method>` (`norm.forward`, `attention.__init__`), `*.<method>`, `function` (any module function),
             `bases` (the base classes of every class) or `*` (every function).
    unit:    `function` takes a whole body; `statements` a run of statements with `...` for what stays between;
             `expression` every occurrence; `expressions` several, each once, with statements to run before the first.
    private: locals of the pattern whose meaning the edit changes: nothing that stays may touch them.
    parameters: metavariables that must be parameters of the function, as they came in.
    varying: metavariables that must depend on what the function is called with, not on `self` alone.
    opaque: what is replaced makes values that may only be bound and passed on: nothing that stays may look inside.
    """

    name: str = ""
    site: str = "*"
    unit: str = "statements"
    private: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    varying: tuple[str, ...] = ()
    opaque: bool = False


@dataclass(frozen=True)
class Rule:
    """What a rule file declares. Its text gives the rest.

    edits:      all or none; `Rule(site=..., unit=...)` is short for one edit.
    scope:      `class`: the edits belong to one class, each class for itself. `module`: every class of an edit's role
                must take it.
    attributes: attribute names in the patterns that stand for any attribute, the same one throughout.
    requires:   attribute -> rule that must take the forward of that attribute's class.
    on_demand:  apply only where another rule requires this one.
    supersedes: rules that yield to this one where both match.
    guards:     metavariable -> the values the configuration's default must have.
    absent:     names the module must not use.
    carried:    words: a class of the model whose forward has a parameter with such a word in its name must be a layer,
                a model or edited, for it gets what the rule changes.
    merges:     rows of several linears in one: (merged, (parts...), name of the sizes or None).
    """

    site: str = ""
    unit: str = ""
    private: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    varying: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()
    scope: str = "class"
    attributes: tuple[str, ...] = ()
    requires: dict[str, str] = field(default_factory=dict)
    on_demand: bool = False
    supersedes: tuple[str, ...] = ()
    guards: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()
    merges: tuple[tuple[str, tuple[str, ...], str | None], ...] = ()


@dataclass(frozen=True)
class Pattern:
    """One `before` and its `after`; None for a `given` and a `not`. `file` is where `before` stands."""

    name: str
    before: Function
    after: Function | None
    file: Parsed = field(compare=False, repr=False)

    @cached_property
    def metavariables(self) -> frozenset[str]:
        """Parameters of `before`: each stands for an expression."""
        return frozenset(arg.arg for arg in arguments_of(self.before) if arg.arg != "self")

    @cached_property
    def assigned(self) -> frozenset[str]:
        """Names that `before` assigns: its locals."""
        return frozenset(stored_names(self.before))


@dataclass(frozen=True)
class LoadedEdit:
    edit: Edit
    patterns: tuple[Pattern, ...]


@dataclass(frozen=True)
class LoadedRule:
    """A rule and its file. `parsed` holds its own functions' text and versions, `taken` those of shared files."""

    name: str
    declared: Rule
    edits: tuple[LoadedEdit, ...]
    given: dict[str, tuple[Pattern, ...]]
    negatives: tuple[Pattern, ...]
    parsed: Parsed = field(compare=False, repr=False)
    taken: tuple[Taken, ...] = field(compare=False, repr=False)
    sha256: str

    @property
    def summary(self) -> str:
        """The first line of the rule's docstring."""
        return self.document.split("\n")[0]

    @property
    def document(self) -> str:
        """The rule's docstring: why, numerics, contract."""
        return ast.get_docstring(self.parsed.tree) or ""

    @property
    def path(self) -> str:
        """The rule file as messages name it."""
        return self.parsed.display

    @cached_property
    def imports(self) -> dict[str, Import]:
        """What an `after` may need: the file's imports, without what it takes from shared files."""
        return {n: i for n, i in self.parsed.imports.items() if not is_of_rules(i.module, i.level)}


def load_rules(directory: Path) -> tuple[LoadedRule, ...] | Refused:
    """Load every `*.py` of a folder, by name. The first broken file refuses them all, located in that file."""
    loaded: list[LoadedRule] = []
    shared = SharedFiles(directory)
    for path in sorted(directory.glob("*.py")):
        if path.name.startswith("_"):
            continue
        rule = load_rule(path, shared)
        if isinstance(rule, Refused):
            return rule
        loaded.append(rule)
    names = {rule.name for rule in loaded}
    for rule in loaded:
        for other in (*rule.declared.supersedes, *rule.declared.requires.values()):
            if other not in names:
                return broken(rule.parsed, rule.parsed.tree.body[0], f"rule `{rule.name}` names no rule `{other}`")
    return tuple(loaded)


def load_rule(path: Path, shared: SharedFiles | None = None) -> LoadedRule | Refused:
    """Read one rule file without importing it. Errors are P030, with the span in the rule file or in one it shares."""
    parsed = read_rule_file(path, f"{path.parent.name}/{path.name}")
    if isinstance(parsed, Refused):
        return parsed
    declaration = next((n for n in parsed.tree.body if isinstance(n, ast.Assign) and _targets(n) == ["rule"]), None)
    if declaration is None:
        first = parsed.tree.body[0] if parsed.tree.body else parsed.tree
        return broken(parsed, first, "a rule file needs `rule = Rule(...)`")
    if ast.get_docstring(parsed.tree) is None:
        return broken(parsed, declaration, "a rule file starts with its docstring: what it does, numerics, contract")
    try:
        rule = _literal(declaration.value)
    except (ValueError, TypeError) as error:
        return broken(parsed, declaration.value, str(error))
    edits = _load_edits(parsed, rule, declaration)
    if isinstance(edits, Refused):
        return edits
    taken = (shared or SharedFiles(path.parent)).taken_by(parsed)
    if isinstance(taken, Refused):
        return taken
    alone = _without_after(parsed, taken)
    given: dict[str, tuple[Pattern, ...]] = {}
    for pattern in alone:
        if pattern.name.startswith("given_"):
            wanted = pattern.name[6:].split("__")[0]
            given[wanted] = (*given.get(wanted, ()), pattern)
    negatives = tuple(pattern for pattern in alone if pattern.name.startswith("not_"))
    return LoadedRule(path.stem, rule, edits, given, negatives, parsed, taken, identity(parsed, taken))


def _without_after(parsed: Parsed, taken: tuple[Taken, ...]) -> list[Pattern]:
    """Every `given` and every `not` of a rule: what it takes, then its own."""
    own = Taken(parsed, tuple(f for name, f in parsed.functions.items() if name.startswith(PREFIXES)))
    return [Pattern(f.name, f, None, each.file) for each in (*taken, own) for f in each.functions]


def _load_edits(parsed: Parsed, rule: Rule, declaration: ast.Assign) -> tuple[LoadedEdit, ...] | Refused:
    unit, site = rule.unit or "statements", rule.site or "*"
    edits = rule.edits or (Edit("", site, unit, rule.private, rule.parameters, rule.varying),)
    loaded = []
    for edit in edits:
        if edit.unit not in UNITS:
            return broken(parsed, declaration.value, f"unit is `{edit.unit}`, not one of {', '.join(UNITS)}")
        suffix = f"_{edit.name}" if edit.name else ""
        names = [n for n in parsed.functions if n == f"before{suffix}" or n.startswith(f"before{suffix}__")]
        if not names:
            return broken(parsed, declaration.value, f"no function `before{suffix}`")
        patterns = []
        for name in names:
            variant = name[len(f"before{suffix}") :]
            after = parsed.functions.get(f"after{suffix}{variant}") or parsed.functions.get(f"after{suffix}")
            before = parsed.functions[name]
            if after is None:
                return broken(parsed, before, f"`{name}` has no `after{suffix}`")
            fault = _fault(edit, before, after)
            if fault:
                return broken(parsed, after, fault)
            patterns.append(Pattern(name, before, after, parsed))
        loaded.append(LoadedEdit(edit, tuple(patterns)))
    return tuple(loaded)


def _fault(edit: Edit, before: Function, after: Function) -> str | None:
    """What makes a pair unusable, checked when the rule is read."""
    gaps_before, gaps_after = (sum(map(is_gap, body_of(f))) for f in (before, after))
    if edit.unit == "statements" and gaps_before != gaps_after:
        return f"`{before.name}` has {gaps_before} top-level `...`, `{after.name}` has {gaps_after}"
    bodies = body_of(before), body_of(after)
    if edit.unit == "expression" and not all(len(body) == 1 and _is_expression(body[0]) for body in bodies):
        return f"an expression edit is one expression: `{before.name}` and `{after.name}` hold one each"
    if edit.unit == "expressions":
        wanted, given = (sum(map(_is_expression, body_of(f))) for f in (before, after))
        if wanted != given or wanted != len(body_of(before)):
            return f"`{before.name}` has {wanted} expressions, `{after.name}` puts {given} in their place"
    role = edit.site.partition(".")[0]
    if role not in (*ROLES, "*", "function"):
        return f"no kind of class is called `{role}`: there are {', '.join(ROLES)}"
    unknown = _later_metavariables(before, after)
    if unknown:
        return f"`{after.name}` uses {', '.join(unknown)}, which `{before.name}` takes and never binds"
    if edit.unit == "statements":
        lost = stored_names(before) - stored_names(after) - set(edit.private) - {"_"}
        if lost:
            return f"`{before.name}` assigns {', '.join(sorted(lost))} and `{after.name}` does not; name them private"
    return None


def _is_expression(statement: ast.stmt) -> bool:
    return isinstance(statement, (ast.Expr, ast.Return)) and statement.value is not None


def _later_metavariables(before: Function, after: Function) -> list[str]:
    """Parameters of `after` without annotation or default that `before` lacks: nothing could bind them."""
    known = {arg.arg for arg in arguments_of(before)}
    count = len(after.args.args) - len(after.args.defaults)
    plain = (arg for arg in after.args.args[:count] if arg.annotation is None)
    return [arg.arg for arg in plain if arg.arg not in known]


def is_gap(statement: ast.AST) -> bool:
    """A statement `...`."""
    return isinstance(statement, ast.Expr) and is_ellipsis(statement.value)


def is_ellipsis(node: ast.AST) -> bool:
    """An expression `...`."""
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def is_rest(keyword: ast.keyword) -> bool:
    """`**...` in a call of a pattern: any remaining arguments."""
    return keyword.arg is None and is_ellipsis(keyword.value)


def _targets(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def _literal(node: ast.expr) -> Any:
    """Evaluate `Rule(...)`: literals and nested `Edit(...)` only."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Rule", "Edit"):
        cls = Rule if node.func.id == "Rule" else Edit
        return cls(*map(_literal, node.args), **{k.arg: _literal(k.value) for k in node.keywords if k.arg})
    if isinstance(node, ast.Tuple):
        return tuple(map(_literal, node.elts))
    if isinstance(node, ast.Dict):
        return {_literal(k): _literal(v) for k, v in zip(node.keys, node.values, strict=True) if k is not None}
    if isinstance(node, ast.Constant):
        return node.value
    raise ValueError(f"a rule is declared with literals only, found `{ast.unparse(node)}`")

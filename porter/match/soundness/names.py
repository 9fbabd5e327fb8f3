"""Names of the new code: each means what the rule means by it, where the rewrite puts it."""

from __future__ import annotations

import builtins

import libcst as cst

from porter.match.found import Hit
from porter.match.soundness.check import Case, Found
from porter.match.soundness.signature import added_parameters
from porter.tree.functions import parameter_names
from porter.tree.names import read_names


def free_names(hit: Hit) -> set[str]:
    """Names an `after` takes from the module: neither bound by the pattern nor assigned in it."""
    pattern = hit.match.pattern
    after = pattern.after
    assert after is not None
    bound = pattern.metavariables | set(hit.match.bindings.names) | {"self"} | parameter_names(after)
    loads = set(pattern.read_after)
    if added_parameters(hit):
        annotations = [parameter.annotation for parameter in added_parameters(hit)] + [after.returns]
        loads |= {name for annotation in annotations if annotation is not None for name in read_names(annotation)}
    return loads - bound - pattern.assigned_after


def hidden_name(case: Case) -> Found:
    """A name of the new code means something else here: a local, a parameter, a definition of the source's own."""
    hit, tree = case.hit, case.tree
    function = hit.match.function
    parameters = parameter_names(function)
    local = parameters | tree.assigned(function)
    added = {parameter.name.value for parameter in added_parameters(hit)}
    for name in sorted(added & local):
        return f"`{name}` is a name this rewrite needs for itself", function
    ours = case.application.rule.imports
    said = {node.value for root in hit.roots for node in tree.nodes(root) if isinstance(node, cst.Name)}
    meant = hit.match.pattern.named & said
    for name in sorted(_unbound(hit) - parameters):
        return f"the function has no parameter `{name}`, which this rewrite hands on", function
    for name in sorted(free_names(hit) - meant):  # what `before` names too is the source's own
        if name in local:
            if name in ours or hasattr(builtins, name):
                return f"`{name}` hides what this rewrite calls by that name", function
            continue  # a parameter of the function, which the rule means
        if name in ours and tree.module_bindings[name] and not _same_import(name, case):
            return f"`{name}` of this file hides what this rewrite calls by that name", function
        known = name in ours or tree.module_bindings[name] or hasattr(builtins, name) or "*" in tree.imports
        if not known:
            return f"`{name}`, which this rewrite needs, is not defined here", function
    return None


def _unbound(hit: Hit) -> frozenset[str]:
    """Metavariables of `after` that `before` never uses: parameters of the function under their own names."""
    pattern = hit.match.pattern
    return (pattern.read_after & pattern.metavariables) - set(hit.match.bindings.metas) - pattern.assigned


def _same_import(name: str, case: Case) -> bool:
    """The file imports the name, and nothing else binds it, from where the rule does or a package of the same root."""
    theirs, ours = case.tree.alternatives.get(name, ()), case.application.rule.imports[name]
    if not theirs or case.tree.module_bindings[name] > len(theirs):
        return False
    root = ours.module.split(".")[0]
    return name == "torch_npu" or all(item.level > 0 or item.module.split(".")[0] == root for item in theirs)

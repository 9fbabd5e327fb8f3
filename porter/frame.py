"""What surrounds the rewritten model code: base class, decorators, imports, and the sweep of what became dead.

None of this is model code; it makes the file stand on its own outside the source library.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from porter.parse import Function, Parsed, decorator_name, dotted, parse
from porter.plan import Plan
from porter.ported import FRAME, Change
from porter.soundness import HUB_DECORATORS, added_parameters
from porter.sweep import apply_edits, from_import, sweep

RUNTIME = "porter.runtime"
BASE_CLASS = "PortedPreTrainedModel"
BASE_CLASS_WITH_CACHE = "NpuPreTrainedModel"
LIBRARY = "transformers"
TORCH_NPU = """try:
    import torch_npu
except ImportError:  # no NPU stack here: the same ops, computed on the CPU
    from porter.npu import torch_npu
"""

Merge = tuple[str, tuple[str, ...], str | None]


def runtime_edits(
    plan: Plan, merges: tuple[Merge, ...], needed: dict[str, str], package: str | None
) -> Iterator[tuple[int, int, tuple[str, ...], str, str]]:
    """(start, end, text, rule, site) of edits that follow from any rule: decorators, the base class, its attributes."""
    parsed = plan.parsed
    ported = {hit.owner or hit.site for a in plan.applications for hit in a.hits}
    yield from _undocumented(plan)
    definitions: list[ast.ClassDef | Function] = [*parsed.classes.values(), *parsed.functions.values()]
    for node in definitions:
        if node.name not in ported:
            continue
        for decorator in node.decorator_list:
            if decorator_name(decorator) in HUB_DECORATORS:
                yield (*_decorator_lines(parsed, decorator), ("",), FRAME, node.name)
    has_static_cache = any(module.startswith(RUNTIME) for module in needed.values())
    base_class = BASE_CLASS_WITH_CACHE if has_static_cache else BASE_CLASS
    needed[base_class] = RUNTIME
    custom = package is None or package.split(".")[0] != LIBRARY
    attributes = ("    source_is_custom_code = True\n" if custom else "") + (_weight_map(merges) if merges else "")
    if merges:
        needed["RowMerge"] = RUNTIME
    for name in plan.anatomy.pretrained():
        node = parsed.classes[name]
        for base in node.bases:
            if dotted(base) == "PreTrainedModel":
                yield (*parsed.range(base), (base_class,), FRAME, name)
        if attributes:
            start = parsed.line_start(parsed.range(_first_statement(node))[0])
            yield start, start, (attributes,), FRAME, name


def _undocumented(plan: Plan) -> Iterator[tuple[int, int, tuple[str, ...], str, str]]:
    """`@auto_docstring` goes from a function that gets parameters: it complains of what the source never documented."""
    for hit in (hit for application in plan.applications for hit in application.hits if added_parameters(hit)):
        for decorator in hit.match.function.decorator_list:
            if decorator_name(decorator) == "auto_docstring":
                yield (*_decorator_lines(plan.parsed, decorator), ("",), FRAME, hit.site)


def _decorator_lines(parsed: Parsed, decorator: ast.expr) -> tuple[int, int]:
    start, end = parsed.range(decorator)
    return parsed.line_start(start), end + 1


def _first_statement(node: ast.ClassDef) -> ast.stmt:
    first = node.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return node.body[1] if is_docstring and len(node.body) > 1 else first


def _weight_map(merges: tuple[Merge, ...]) -> str:
    lines = ["    weight_merges = ("]
    for merged, parts, sizes in merges:
        listed = ", ".join(f'"{part}"' for part in parts)
        tail = f', sizes="{sizes}"' if sizes else ""
        lines.append(f'        RowMerge("{merged}", ({listed}){tail}),')
    return "\n".join([*lines, "    )", ""])


def finish_frame(source: Parsed, text: str, needed: dict[str, str], package: str | None) -> tuple[str, list[Change]]:
    """Sweep what is dead now, make imports absolute, add those the rewrites need."""
    text, swept = sweep(source, text, set(needed))
    parsed = parse(text, source.display)
    assert isinstance(parsed, Parsed)
    return apply_edits(parsed.data, [*_absolute_imports(parsed, package), *_added_imports(parsed, needed)]), swept


# -- imports


def _absolute_imports(parsed: Parsed, package: str | None) -> Iterator[tuple[int, int, str]]:
    """`from ...cache_utils import X` in `transformers.models.llama`: `from transformers.cache_utils import X`."""
    if package is None:
        return
    for node in parsed.nodes(parsed.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = package.split(".")
            head = parts[: len(parts) - node.level + 1]
            module = ".".join([*head, *([node.module] if node.module else [])])
            start, end = parsed.range(node)
            written = parsed.data[start:end].decode()
            tail = written[written.index("import") :] if not node.module else written[written.index(" import") + 1 :]
            yield start, end, f"from {module} {tail}"


def _added_imports(parsed: Parsed, needed: dict[str, str]) -> Iterator[tuple[int, int, str]]:
    """Imports the rewrites need, after the file's last import that stands before any definition."""
    by_module: dict[str, list[str]] = {}
    for name, module in sorted(needed.items()):
        item = parsed.imports.get(name)
        if item is None or item.node not in parsed.tree.body:
            by_module.setdefault(module, []).append(name)
    blocks = []
    npu = by_module.pop("porter.npu", [])
    if "torch_npu" in npu:
        blocks.append(TORCH_NPU)
    lines = [from_import(module, names) + "\n" for module, names in sorted(by_module.items())]
    if lines:
        blocks.append("".join(lines))
    if blocks:
        place = _import_place(parsed)
        yield place, place, "\n" + "\n".join(blocks)


def _import_place(parsed: Parsed) -> int:
    """The line after the last import that stands before any definition; else after the docstring."""
    place = 0
    for node in parsed.tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            break
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, (ast.Import, ast.ImportFrom)) or (is_docstring and not place):
            place = parsed.data.find(b"\n", parsed.range(node)[1]) + 1 or len(parsed.data)
    return place

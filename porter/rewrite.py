"""Plan -> new text. The only place that changes source: it replaces byte ranges, and everything else stays as it is.

After the rules, the frame: names the rewrites need are imported, relative imports become absolute, kernel-hub
decorators go from ported sites, helpers and imports that the rewrites left dead are swept.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from porter.frame import finish_frame, runtime_edits
from porter.parse import Parsed, defaults_of
from porter.plan import Application, Hit, Plan
from porter.ported import Change
from porter.soundness import added_parameters, free_names
from porter.template import Filler, Hole, Piece


@dataclass(frozen=True)
class Replacement:
    """`[start, end)` of the source becomes `pieces`; `end == start` is an insertion."""

    start: int
    end: int
    pieces: tuple[Piece, ...]
    rule: str
    site: str


@dataclass(frozen=True)
class Rewritten:
    code: str
    changes: tuple[Change, ...]


def rewrite(plan: Plan, package: str | None) -> Rewritten:
    """Apply every application of the plan. `package` is the dotted package the source's relative imports start from."""
    replacements: list[Replacement] = []
    needed: dict[str, str] = {}
    for application in plan.applications:
        for hit in application.hits:
            replacements += _replacements(plan.parsed, application, hit)
            needed.update(_imports_for(plan.parsed, application, hit))
    merges = [merge for a in plan.applications for merge in a.rule.declared.merges]
    replacements += [Replacement(*edit) for edit in runtime_edits(plan, tuple(dict.fromkeys(merges)), needed, package)]
    replacements = [item for item in replacements if not _says_the_same(plan.parsed, item)]
    renderer = Renderer(plan.parsed, _settle_insertions(replacements))
    text = renderer.render(0, len(plan.parsed.data))
    renderer.check_complete()
    changes = [_change(plan.parsed, item) for item in replacements]
    code, swept = finish_frame(plan.parsed, text, needed, package)
    changes += swept
    return Rewritten(code, tuple(sorted(set(changes), key=lambda c: (c.start, c.end, c.rule, c.site))))


class Renderer:
    """Renders ranges of the source with replacements applied, also inside holes."""

    def __init__(self, parsed: Parsed, replacements: list[Replacement]) -> None:
        self.data = parsed.data
        self.parsed = parsed
        self.replacements = sorted(replacements, key=lambda r: (r.start, r.end != r.start, -r.end))
        self._rendered: set[int] = set()

    def render(self, start: int, end: int, outer: Replacement | None = None) -> str:
        """The text of `[start, end)`: the whole file, or a hole of the replacement `outer`."""
        parts: list[str] = []
        position = start
        for item in self.replacements:
            if item is outer or item.start < position or item.end > end:
                continue
            if outer is not None and item.start == item.end == start:
                continue  # an insertion before the hole: `outer` itself stands behind it
            parts.append(self.data[position : item.start].decode())
            parts.append(self.filled(item))
            self._rendered.add(id(item))
            position = item.end
        parts.append(self.data[position:end].decode())
        return "".join(parts)

    def check_complete(self) -> None:
        """A replacement that was not written must stand in code that another one dropped: anything else is a bug."""
        for item in self.replacements:
            dropped = any(o.start <= item.start and item.end <= o.end and o is not item for o in self.replacements)
            if id(item) not in self._rendered and not dropped:
                raise AssertionError(f"{item.rule} at {item.site} was not written: it overlaps what another rule wrote")

    def filled(self, item: Replacement) -> str:
        """What `item` writes, indented as the line it stands on."""
        line = self.data[self.parsed.line_start(item.start) : item.start]
        indent = line[: len(line) - len(line.lstrip())].decode() if line.strip() else line.decode()
        filled = []
        for piece in item.pieces:
            if isinstance(piece, Hole):
                filled.append(self.render(piece.start, piece.end, item))
            else:
                filled.append(piece.replace("\n", "\n" + indent))
        return "".join(filled)


def _replacements(parsed: Parsed, application: Application, hit: Hit) -> list[Replacement]:
    filler = Filler(application.rule, hit, parsed, dict(application.attributes) | hit.match.bindings.attributes)
    name = application.rule.name
    found: list[Replacement] = []
    if hit.match.expressions:
        prelude, texts = filler.split_expressions(len(hit.match.expressions))
        for node, pieces in zip(hit.match.expressions, texts, strict=True):
            found.append(Replacement(*parsed.range(node), tuple(pieces), name, hit.site))
        comments = [c for node in hit.match.expressions for c in _comments_lost(parsed, *parsed.range(node), hit)]
        if prelude or comments:
            start = _statement_start(parsed, hit)
            lines = [*comments, *prelude, "\n"] if prelude else comments
            found.append(Replacement(start, start, tuple(lines), name, hit.site))
        return found
    for segment, pieces in zip(hit.match.segments, filler.segments(), strict=True):
        if segment:
            start, end = parsed.range(segment[0])[0], parsed.range(segment[-1])[1]
            filled = (*_comments_lost(parsed, start, end, hit), *pieces)
            if not filled:
                start, end = _whole_lines(parsed.data, start, end)
            found.append(Replacement(start, end, filled, name, hit.site))
    found += _signature(parsed, hit, filler, name)
    return found


def _says_the_same(parsed: Parsed, item: Replacement) -> bool:
    """An edit that only asks for code to be there writes what it found."""
    return item.end > item.start and Renderer(parsed, []).filled(item) == parsed.data[item.start : item.end].decode()


def _whole_lines(data: bytes, start: int, end: int) -> tuple[int, int]:
    """The range with its line breaks, and the blank lines behind it: nothing takes its place."""
    start = data.rfind(b"\n", 0, start) + 1
    end = data.find(b"\n", end) + 1
    while data[end : data.find(b"\n", end) + 1].isspace():
        end = data.find(b"\n", end) + 1
    return start, end


def _statement_start(parsed: Parsed, hit: Hit) -> int:
    """Where the statement that holds the first of the expressions starts."""
    first = min(parsed.range(node)[0] for node in hit.match.expressions)
    inner = (node for node in ast.walk(hit.match.function) if isinstance(node, ast.stmt))
    ranges = [parsed.range(node) for node in inner if node is not hit.match.function]
    return max(start for start, end in ranges if start <= first < end)


def _settle_insertions(replacements: list[Replacement]) -> list[Replacement]:
    """An insertion in the middle of a replaced run goes before the run."""
    settled = []
    for item in replacements:
        if item.start == item.end:
            for other in replacements:
                if other.start < item.start < other.end:
                    item = Replacement(other.start, other.start, item.pieces, item.rule, item.site)
        settled.append(item)
    return settled


def _comments_lost(parsed: Parsed, start: int, end: int, hit: Hit) -> list[Piece]:
    """Comments inside the range that no hole carries: they go above what replaces it."""
    if b"#" not in parsed.data[start:end]:
        return []
    holes = hit.holes(parsed)
    pieces: list[Piece] = []
    for first, last, text in parsed.comments:
        if start <= first and last <= end and not any(h[0] <= first and last <= h[1] for h in holes):
            pieces.append(text + "\n")
    return pieces


def _signature(parsed: Parsed, hit: Hit, filler: Filler, rule: str) -> list[Replacement]:
    """Parameters the edit adds, after the parameter that stands before them in `after`; its return annotation."""
    found: list[Replacement] = []
    after, function = hit.match.pattern.after, hit.match.function
    assert after is not None
    arguments = after.args.args
    defaults = defaults_of(after)
    for arg in added_parameters(hit):
        index = arguments.index(arg)
        anchor = _anchor(parsed, hit, [a.arg for a in arguments[:index]], arg.arg in defaults)
        text = filler.parameter(arg, defaults.get(arg.arg))
        line = parsed.data[parsed.line_start(anchor[0]) : anchor[0]].decode()
        joint = ",\n" + line if not line.strip() else ", "
        found.append(Replacement(anchor[1], anchor[1], (_Verbatim(joint + text),), rule, hit.site))
    if after.returns is not None and function.returns is not None and added_parameters(hit):
        returns = filler.rule.parsed.text(after.returns)
        found.append(Replacement(*parsed.range(function.returns), (returns,), rule, hit.site))
    return found


class _Verbatim(str):
    """Text that brings its own indentation."""

    def replace(self, *_: object) -> str:
        return str(self)


def _anchor(parsed: Parsed, hit: Hit, before: list[str], has_default: bool) -> tuple[int, int]:
    """The range of the parameter a new one follows."""
    arguments = hit.match.function.args
    every = [*arguments.posonlyargs, *arguments.args]
    ends = {arg.arg: parsed.range(arg) for arg in every}
    for name, default in defaults_of(hit.match.function).items():
        ends[name] = (ends[name][0], parsed.range(default)[1])
    if has_default:
        return ends[every[-1].arg]
    for name in reversed(before):
        bound = hit.match.bindings.metas.get(name)
        source_name = bound.id if isinstance(bound, ast.Name) else name
        if source_name in ends:
            return ends[source_name]
    return ends[every[0].arg]


def _imports_for(parsed: Parsed, application: Application, hit: Hit) -> dict[str, str]:
    """Module of every name the filled text needs and the source does not have."""
    needed = {}
    for name in free_names(hit):
        if not _always_bound(parsed, name):
            item = application.rule.imports.get(name)
            if item is not None:
                needed[name] = item.module
    return needed


def _always_bound(parsed: Parsed, name: str) -> bool:
    """Whether the source binds the name at module level unconditionally."""
    item = parsed.imports.get(name)
    return item.node in parsed.tree.body if item else name in parsed.functions or name in parsed.classes


def _change(parsed: Parsed, item: Replacement) -> Change:
    first = parsed.line_of(item.start)
    return Change(item.rule, item.site, first, parsed.line_of(item.end) if item.end > item.start else first - 1)

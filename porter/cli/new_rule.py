"""`porter new-rule`: the beginning of a rule for one site, that matches it. Nothing of the source is run."""

from __future__ import annotations

import keyword
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from porter.cli.project import find_project
from porter.cli.rulebook import rulebook
from porter.cli.talk import Command, answer, as_json, refuse
from porter.diagnostics import Diagnostic, Refused, nearest

if TYPE_CHECKING:
    from porter.convert import Inspection
    from porter.rulebook.skeleton import Found
    from porter.source import Source

FOLDER = Path("rules")


@click.command("new-rule", cls=Command)
@click.option("--from", "site", metavar="SOURCE:SITE", required=True, help="A function of a source, to take.")
@click.option("--name", help="The rule's name [after the site].")
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path), help="Its folder [the project's first, or rules]."
)
@as_json
def new_rule(site: str, name: str | None, out: Path | None, as_json: bool) -> int:
    """Write the beginning of a rule that takes SITE of SOURCE: `before` as it stands, a proof, a case not to match.

    Its `after` is its `before` until you change it; so long it ports nothing.

    \b
    Examples:
      porter new-rule --from transformers.models.zaya:ZayaQKNorm.forward
      porter new-rule --from ./modeling_mine.py:rotate --name my_rotation --out npu/rules
    """
    from porter.convert import inspect
    from porter.source import load_source

    spec, colon, wanted = site.rpartition(":")
    if not colon or not spec or not wanted:
        raise click.BadParameter(
            "say SOURCE:SITE, as in transformers.models.llama:LlamaMLP.forward", param_hint="--from"
        )
    loaded = load_source(spec)
    if isinstance(loaded, Refused):
        return refuse(loaded, as_json=as_json)
    book = rulebook(())
    if isinstance(book, Refused):
        return refuse(book, as_json=as_json)
    project = find_project()
    if isinstance(project, Refused):
        return refuse(project, as_json=as_json)
    seen = inspect(loaded, rules=book)
    if isinstance(seen, Refused):
        return refuse(seen, as_json=as_json, source=loaded)
    found = _found(seen, wanted)
    if isinstance(found, Refused):
        return refuse(found, as_json=as_json, source=loaded)
    name = name or _named_after(found.site)
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise click.BadParameter(f"`{name}` is no name of a rule: give another with --name", param_hint="--name")
    folder = out or (project.rules[0].path if project.rules else FOLDER)
    taken = next((each.rules for each in seen.sites if each.name == found.site), ())
    written = _write(folder / f"{name}.py", found, taken, loaded)
    if isinstance(written, Refused):
        return refuse(written, as_json=as_json, source=loaded)
    lines = [
        f"wrote {written}: it matches {found.site}",
        "",
        f"1. change its `after`, and say why in its docstring   {written}",
        f"2. give the draws of its proof the model's shapes     porter prove {name} --rules {folder}",
        f"3. use it                                             porter convert {spec} --rules {folder}",
    ]
    data = {"rule": name, "file": str(written), "site": found.site, "supersedes": list(taken)}
    return answer(True, lambda: "\n".join(lines), lambda: data, as_json=as_json)


def _found(seen: Inspection, wanted: str) -> Found | Refused:
    """The function that is named, in its source. P041 where there is none."""
    from porter.rulebook.skeleton import Found
    from porter.tree.functions import methods

    tree, anatomy = seen.plan.tree, seen.plan.anatomy
    owner, dot, method = wanted.partition(".")
    if owner in tree.functions and not dot:
        return Found(tree, tree.functions[owner], owner, "function", None)
    own = methods(tree.classes[owner]) if owner in tree.classes else {}
    function = own.get(method or "forward")
    if function is not None:
        return Found(
            tree, function, f"{owner}.{method or 'forward'}", anatomy.roles.get(owner, "*"), tree.classes[owner]
        )
    known = [*tree.functions, *(f"{cls}.{name}" for cls, node in tree.classes.items() for name in methods(node))]
    close = " or ".join(f"`{other}`" for other in nearest(wanted, known))
    help = f"did you mean {close}?" if close else "see `porter inspect`"
    return Refused((Diagnostic("P041", f"no function `{wanted}` in `{tree.display}`", help=help),))


def _named_after(site: str) -> str:
    """`zaya_qk_norm` for `ZayaQKNorm.forward`."""
    text = site.removesuffix(".forward").replace(".", "_")
    parts = []
    for index, char in enumerate(text):
        follows = index + 1 < len(text) and text[index + 1].islower()
        begins = char.isupper() and index and text[index - 1] != "_" and (not text[index - 1].isupper() or follows)
        parts.append(f"_{char}" if begins else char)
    return "".join(parts).lower()


def _write(path: Path, found: Found, supersedes: tuple[str, ...], source: Source) -> Path | Refused:
    """The file, once it is known to match. P036 where there is one, or where no rule could take such a function."""
    from porter.rulebook.skeleton import skeleton

    if os.path.lexists(path):
        return _refused(f"`{path}` is there already", "give the rule another `--name`")
    text = skeleton(found, supersedes)
    with tempfile.TemporaryDirectory(prefix="porter-new-rule-") as place:
        fault = _fault(Path(place) / path.name, skeleton(found), found, source)
    if fault is not None:
        return fault
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        return _refused(f"`{path}` cannot be written: {error.strerror or error}", "give another `--out`")
    return path


def _fault(path: Path, text: str, found: Found, source: Source) -> Refused | None:
    """Why the rule would not take the function, if so: tried alone."""
    from porter.convert import inspect
    from porter.plan import explain
    from porter.rulebook import load_rule

    path.write_text(text, encoding="utf-8")
    rule = load_rule(path, proving=True)
    if isinstance(rule, Refused):
        said = rule.diagnostics[0]
        return _refused(f"no rule can be made of `{found.site}`: {said.message}", "write one by hand, of a part of it")
    seen = inspect(source, rules=(rule,), every=True)
    if isinstance(seen, Refused):
        return seen
    if rule.name in seen.plan.rules_at(found.site):
        return None
    site = next((each for each in seen.plan.anatomy.sites if each.name == found.site), None)
    why = explain(seen.plan, site) if site is not None else None
    reason = (why.label or why.message) if why is not None else "no edit of a rule reaches it"
    place = why.span if why is not None else None
    message = f"a rule of `{found.site}` as a whole would not match it: {reason}"
    return Refused((Diagnostic("P036", message, place, help="write one by hand, of a part of it"),))


def _refused(message: str, help: str) -> Refused:
    return Refused((Diagnostic("P036", message, help=help),))

"""The text around model code: header, package file, run script, registry. Jinja2 writes it from `templates/`.

Whatever enters a template is data from elsewhere (paths, versions): it reaches generated code only as a Python literal,
an identifier, or one line of a comment.
"""

from __future__ import annotations

import os
import shlex
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import porter
from porter.rewrite import Ported
from porter.shipped import shipped

if TYPE_CHECKING:
    from jinja2 import Environment

_BEGINS = "# Ported to Ascend NPU by porter "
_ENDS = "# What every rule changed is in port.diff, what no rule took in port.json."
REGISTRY_FIRST_LINE = '"""The ported models of this folder. Written by porter from their port.json files: do not edit.'


def with_header(ported: Ported, place: Path) -> str:
    """The model code with the header after its own leading comment, which is the licence notice."""
    lines = ported.code.split("\n")
    end = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    if ported.source.encoding != "utf-8":  # what declares it stays in the first two lines
        end = max([end, *(number + 1 for number, line in enumerate(lines[:2]) if "coding" in line)])
    rules = ", ".join(rule for rule, _ in ported.rules)
    header = _render(
        "header.py.j2",
        version=porter.__version__,
        origin=one_line(origin(ported)),
        sha256=ported.source.sha256,
        rules=textwrap.wrap(one_line(rules), 100),
        command=one_line(regenerate_command(ported, place)),
    ).rstrip("\n")
    header_lines = header.split("\n")[0 if end else 1 :]
    if end == len(lines) or lines[end].strip():
        header_lines.append("")
    carriage = "\r" if lines[0].endswith("\r") else ""
    return "\n".join([*lines[:end], *(line + carriage for line in header_lines), *lines[end:]])


def without_header(text: str) -> tuple[str, ...]:
    """What `with_header` may have been given: whether it put an empty line behind the header does not show."""
    lines = text.split("\n")
    plain = [line.removesuffix("\r") for line in lines]
    begin = next((number for number, line in enumerate(plain) if line.startswith(_BEGINS)), None)
    if begin is None or _ENDS not in plain[begin:]:
        return (text,)
    end = plain.index(_ENDS, begin) + 1
    before = lines[: begin - 1] if begin and plain[begin - 1] == "#" else lines[:begin]
    return tuple("\n".join([*before, *lines[rest:]]) for rest in (end, end + 1))


def package_file(ported: Ported, module: str, exports: tuple[str, ...]) -> str:
    return _render("__init__.py.j2", title=ported.causal_class, module=module, exports=exports)


def run_script(ported: Ported) -> str:
    return _render("run.py.j2", name=ported.name)


def registry_file(models: dict[str, Any], policies: dict[str, Any]) -> str:
    return _render(
        "registry.py.j2",
        first_line=REGISTRY_FIRST_LINE,
        models=sorted(models.items()),
        policies=sorted(policies.items()),
    )


def origin(ported: Ported) -> str:
    """Where the port came from, in words: `transformers.models.llama.modeling_llama (transformers 5.23.0)`."""
    source = ported.source
    if source.module is None:
        return source.display
    return f"{source.module} ({source.package} {source.version})" if source.version else source.module


def regenerate_command(ported: Ported, place: Path) -> str:
    """The command that makes the same port again, in a checkout's own layout: never with paths of one machine.

    A file is named as seen from the folder two above the port's, `place`: where `generated_models` stands.
    """
    source = ported.source.module or os.path.relpath(ported.source.path, place.parent.parent)
    folders = [os.path.relpath(folder, place.parent.parent) for folder in ported.options.get("rules") or ()]
    return convert_command(source, f"generated_models/{ported.name}", {**ported.options, "rules": folders})


def convert_command(source: str, out: str, options: dict[str, Any]) -> str:
    words = ["porter", "convert", source, "--out", out]
    for option in ("keep", "without", "rules"):
        for value in options.get(option) or ():
            words += [f"--{option}", value]
    if options.get("strict"):
        words.append("--strict")
    if options.get("unproved"):
        words.append("--unproved")
    if options.get("trust_remote_code"):
        words.append("--trust-remote-code")
    return " ".join(shlex.quote(word) for word in words)


def one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def literal(value: Any) -> str:
    """A Python literal with the quotes a formatter would choose."""
    if isinstance(value, str):
        text = repr(value)
        return text if '"' in text or "\\" in text else f'"{text[1:-1]}"'
    inner = ", ".join(literal(item) for item in value)
    return f"({inner},)" if len(value) == 1 else f"({inner})"


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(shipped("templates")),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["literal"] = literal
    return environment

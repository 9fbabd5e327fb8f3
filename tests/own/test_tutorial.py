"""The page on rules of one's own: its files are written and its commands run, in order, in an empty folder."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import porter
from porter.cli.project import Project, find_project

PAGE = Path(porter.__file__).parent / "pages" / "own-rules.md"
SITES = ("ZayaResidualScaling.forward", "ZayaQKNorm.forward")


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """What is fenced: what stands behind the fence, and the lines."""
    head, lines = "", []
    for line in text.split("\n"):
        if not line.startswith("```"):
            lines.append(line)
        elif head:
            yield head, "\n".join(lines) + "\n"
            head = ""
        else:
            head, lines = line.removeprefix("```"), []


def statuses(run) -> dict[str, str]:
    sites = json.loads(run("inspect", "transformers.models.zaya", "--json")[1])["sites"]
    return {site["site"]: site["status"] for site in sites}


def test_the_page_is_followed(run, tmp_path):
    assert [statuses(run)[site] for site in SITES] == ["left", "left"]
    said = {}
    page = PAGE.read_text().replace("acme", "tutored")  # ops of that library are in this process from other tests
    for head, text in blocks(page):
        if "file=" in head:
            file = tmp_path / head.partition("file=")[2]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        for command in text.splitlines() if head == "bash" else ():
            program, *words = shlex.split(command)
            code, out, err = run(*words)
            assert (program, code) == ("porter", 0), f"{command}\n{out}\n{err}"
            said[command] = out
    (proved,) = [out for command, out in said.items() if command.startswith("porter prove")]
    assert "2 passed" in proved
    account = json.loads((tmp_path / "generated_models/zaya/port.json").read_text())
    assert [site["status"] for name in SITES for site in account["sites"] if site["site"] == name] == ["ported"] * 2
    assert account["ops"][0]["ops"] == ["tutored::scaled_sum", "tutored::l2_norm"]


def test_the_table_of_a_project_is_one(run, tmp_path):
    (text,) = [text for head, text in blocks(PAGE.read_text()) if head == "toml"]
    (tmp_path / "rules").mkdir()
    (tmp_path / "pyproject.toml").write_text(text)
    project = find_project(tmp_path / "rules")
    assert isinstance(project, Project) and [each.path.resolve() for each in project.rules] == [tmp_path / "rules"]
    assert project.models is not None and project.models.resolve() == tmp_path / "npu/generated_models"
    assert (project.keep, project.without) == (("MyNorm.forward",), ("swiglu",))
    code, _, err = run("rules")
    assert code == 1 and "error[P031]: the folder `rules` holds no rules" in err and "pyproject.toml:2:" in err


def test_pages_are_printed_and_listed(run):
    assert run("explain", "own-rules")[1].rstrip("\n") == PAGE.read_text().rstrip("\n")
    assert "own-rules" in run("explain")[1]
    code, _, err = run("explain", "own-rule")
    assert code == 1 and "did you mean `own-rules`" in err

"""One conversion, stage after stage: what `porter.convert.convert` does, and the rendering of every file.

Contract: every call reads the source and the rules anew and makes trees of its own, so nothing that is worked out once
is there from the run before; the port it makes is the one that `convert` makes.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from porter.anatomy import defaults_of, find_split_points, read_anatomy
from porter.anatomy.conversions import converted_parameters
from porter.diagnostics import Refused
from porter.emit import render_port
from porter.match import Subject, search
from porter.plan import is_settled, make_plan, report_sites
from porter.rewrite import Ported, rewrite
from porter.rulebook import load_rules
from porter.shipped import shipped
from porter.source import Source, load_source
from porter.source.depth import room_to_recurse
from porter.source.python import check_python
from porter.tree import parse, printed_as_read
from porter.tree.collector import paused_collector

PLACE = Path("generated_models/bench")  # where a port would stand; nothing is written there


def accepted(outcome: Any) -> Any:
    """The outcome, which must not be a refusal."""
    assert not isinstance(outcome, Refused), outcome
    return outcome


class Stages:
    """A conversion stage after stage, each on what the ones before it gave; a call is a run, on a tree of its own."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.runs: list[dict[str, float]] = []
        self.ported: Ported | None = None

    def __call__(self) -> float:
        gc.collect()
        self.runs.append({})
        with room_to_recurse(), paused_collector():
            self.ported = self._ported(self._stage("read the source", load_source, self.spec))
        self._stage("render every file", render_port, self.ported, PLACE)
        return sum(self.runs[-1].values())

    def _stage(self, name: str, work: Callable[..., Any], *arguments: Any) -> Any:
        start = time.perf_counter()
        result = work(*arguments)
        taken = self.runs[-1]
        taken[name] = taken.get(name, 0.0) + time.perf_counter() - start
        return accepted(result)

    def _ported(self, source: Source) -> Ported:
        stage, package = self._stage, source.module.rpartition(".")[0] if source.module else None
        stage("ask Python", check_python, source.text, source.display)
        tree = stage("parse", parse, source.text, source.display, source.path, package)
        self.runs[-1]["parse"] -= self.runs[-1]["ask Python"]  # it asks again
        stage("places", printed_as_read, tree)
        anatomy = stage("anatomy", read_anatomy, tree, source.entry)
        known = (source.configuration, tree, anatomy.causal, source.path)
        defaults = stage("configuration and its defaults", defaults_of, *known)
        rules = stage("rules", load_rules, shipped("rules"))
        converted = stage("match", converted_parameters, source.path, source.package)
        subject = Subject(tree, anatomy, defaults, (), converted, source.siblings, every=False)
        plan = stage("plan", make_plan, stage("match", search, rules, subject), tree, anatomy, rules)
        if not is_settled(plan):
            every = replace(subject, every=True, failures=[], first_reasons={})
            plan = stage("plan", make_plan, stage("match", search, rules, every), tree, anatomy, rules)
        sites = stage("plan", report_sites, plan)
        new = stage("rewrite and print", rewrite, plan, source)
        points = stage("split points", find_split_points, tree, anatomy, defaults, source.path.stem)
        used = tuple(sorted({(each.rule.name, each.rule.sha256) for each in plan.applications}))
        options = {"keep": [], "without": [], "strict": False}
        made = (source, "bench", anatomy.causal, new.code, new.exports, new.changes)
        return Ported(*made, sites, used, points, options)

"""Find every place where the rules apply: tree x rules -> the applications of a plan, and the failures beside them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from porter.anatomy import Anatomy
from porter.bindings import Bindings, Match
from porter.config import ConfigDefaults
from porter.diagnostics import Refused
from porter.match import Unifier
from porter.parse import Function, Parsed, methods
from porter.plan import Application, Failure, Hit, Plan, settle
from porter.reach import broken_merges, unreached_user
from porter.rule import LoadedEdit, LoadedRule, Pattern
from porter.soundness import HUB_DECORATORS, unsound

Place = tuple[str, str | None, Function]  # site name, owning class, function


@dataclass
class Search:
    """One search of one module. `failures` grows as rules miss."""

    parsed: Parsed
    anatomy: Anatomy
    defaults: ConfigDefaults
    kept: tuple[str, ...] = ()
    converted: frozenset[str] = frozenset()
    failures: list[Failure] = field(default_factory=list)

    def plan(self, rules: tuple[LoadedRule, ...]) -> Plan | Refused:
        """Search all rules; then settle who has what."""
        found: list[Application] = []
        by_name = {rule.name: rule for rule in rules}
        demanded: dict[tuple[str, str], Application] = {}
        for rule in rules:
            if rule.declared.on_demand:
                continue
            for application in self._applications(rule):
                needs = self._required(application, by_name)
                if needs is not None and self._sound(application):
                    found.append(application)
                    demanded.update({(need.rule.name, need.hits[0].site): need for need in needs})
        found = self._whole_merges(found)
        settled = settle([*found, *demanded.values()], self.parsed)
        if isinstance(settled, Refused):
            return settled
        return Plan(self.parsed, self.anatomy, rules, tuple(settled[0]), tuple(self.failures), self.kept)

    # -- where a rule applies

    def _applications(self, rule: LoadedRule) -> Iterator[Application]:
        present = sorted(self.parsed.names & set(rule.declared.absent))
        if present:
            self._fail_everywhere(rule, f"the module uses `{present[0]}`, which the rule cannot carry over")
        elif rule.declared.scope == "module":
            yield from self._module_application(rule)
        elif len(rule.edits) == 1:
            for place in self._places(rule.edits[0]):
                for hit in self._hits(rule, rule.edits[0], place, Bindings()):
                    yield Application(rule, (hit,), tuple(hit.match.bindings.attributes.items()))
        else:
            yield from self._class_applications(rule)

    def _class_applications(self, rule: LoadedRule) -> Iterator[Application]:
        for first in self._places(rule.edits[0]):
            owner = first[1]
            hits: list[Hit] = []
            shared = Bindings()
            for edit in rule.edits:
                place = next((p for p in self._places(edit) if p[1] == owner), None)
                found = self._hits(rule, edit, place, shared) if place else []
                if len(found) != 1:
                    if not place:
                        self.failures.append(Failure(rule, first[0], reason=f"no `{edit.edit.site}` in `{owner}`"))
                    elif len(found) > 1:
                        self.failures.append(Failure(rule, first[0], reason=f"`{edit.edit.name}` matches twice"))
                    elif place[0] != first[0]:
                        self._explain(rule, first[0], place[0])
                    break
                hits += found
                shared = Bindings(attributes=found[0].match.bindings.attributes)
            else:
                yield Application(rule, tuple(hits), tuple(shared.attributes.items()))

    def _module_application(self, rule: LoadedRule) -> Iterator[Application]:
        hits: list[Hit] = []
        shared = Bindings()
        for edit in rule.edits:
            found_any = False
            for place in self._places(edit):
                found = self._hits(rule, edit, place, shared)
                if self._is_kept(place) and self._would_match(rule, edit, place):
                    self._fail_everywhere(rule, f"`{place[0]}` is kept, and the rule changes it with the others")
                    return
                if not found and edit.edit.unit != "expression":
                    self._fail_everywhere(rule, f"`{place[0]}` does not match `{edit.patterns[0].name}`", skip=place[0])
                    return
                found_any = found_any or bool(found)
                hits += found
                if found:
                    shared = Bindings(attributes=found[-1].match.bindings.attributes)
            if not found_any:
                self._fail_everywhere(rule, f"nothing in the module matches `{edit.patterns[0].name}`")
                return
        reason = unreached_user(hits, self.parsed, self.anatomy)
        if reason is None:
            yield Application(rule, tuple(hits), tuple(shared.attributes.items()))
        else:
            self._fail_everywhere(rule, reason)

    def _is_kept(self, place: Place) -> bool:
        return bool({place[0], place[1], place[0].split(".")[0]} & set(self.kept))

    def _would_match(self, rule: LoadedRule, edit: LoadedEdit, place: Place) -> bool:
        unifiers = (Unifier(rule, pattern, self.parsed) for pattern in edit.patterns)
        return any(self._match(unifier, edit.edit.unit, place[2], Bindings()) for unifier in unifiers)

    def _places(self, edit: LoadedEdit) -> list[Place]:
        site = edit.edit.site
        if site == "function":
            return [(name, None, function) for name, function in self.parsed.functions.items()]
        role, _, method = site.partition(".")
        places: list[Place] = []
        for name, node in self.parsed.classes.items():
            if site == "*" and name in self.anatomy.reached:
                places += [(f"{name}.{m}", name, function) for m, function in methods(node).items()]
            elif role == "*" or self.anatomy.roles.get(name) == role:
                function = methods(node).get(method)
                if function is not None:
                    places.append((f"{name}.{method}", name, function))
        if site == "*":
            places += [(name, None, function) for name, function in self.parsed.functions.items()]
        return places

    def _hits(self, rule: LoadedRule, edit: LoadedEdit, place: Place, start: Bindings) -> list[Hit]:
        site, owner, function = place
        if self._is_kept(place):
            return []
        best = None
        hits: list[Hit] = []
        for pattern in edit.patterns:
            unifier = Unifier(rule, pattern, self.parsed)
            matches = self._match(unifier, edit.edit.unit, function, start)
            if matches and not self._given(rule, site):
                return []
            matches = [match for match in matches if self._guarded(rule, site, match)]
            hits += [Hit(edit.edit, site, owner, match) for match in matches]
            if hits and edit.edit.unit != "expression":
                return hits
            if unifier.miss and (best is None or unifier.miss.depth > best.depth):
                best = unifier.miss
        if not hits and best is not None and (best.depth or edit.edit.unit == "function"):
            self.failures.append(Failure(rule, site, miss=best))
        return hits

    def _match(self, unifier: Unifier, unit: str, function: Function, start: Bindings) -> list[Match]:
        if unit == "function":
            match = unifier.function(function, start)
            return [match] if match else []
        if unit == "expression":
            return list(unifier.expressions(function, list(function.body), start))
        if unit == "expressions":
            group = unifier.expression_group(function, start)
            return [group] if group else []
        return list(unifier.statements(function, start))

    # -- conditions

    def _given(self, rule: LoadedRule, site: str) -> bool:
        """Each `given_<name>` is how the module defines that function, under its own parameters' names, and once."""
        for name, patterns in rule.given.items():
            function = self.parsed.functions.get(name)
            is_plain = function is not None and self.parsed.module_bindings[name] == 1
            if function is None or not is_plain or not self._defined_as(function, rule, patterns):
                place = f"{patterns[0].file.display}:{patterns[0].before.lineno}"
                reason = f"the module does not define `{name}` as {place} asks"
                self.failures.append(Failure(rule, site, reason=reason, node=function))
                return False
        return True

    def _defined_as(self, function: Function, rule: LoadedRule, patterns: tuple[Pattern, ...]) -> bool:
        decorators = {ast.unparse(d.func if isinstance(d, ast.Call) else d) for d in function.decorator_list}
        if decorators - HUB_DECORATORS:
            return False
        for pattern in patterns:
            match = Unifier(rule, pattern, self.parsed).function(function, Bindings())
            bound = match.bindings.metas.items() if match else ()
            if match and all(isinstance(node, ast.Name) and node.id == name for name, node in bound):
                return True
        return False

    def _guarded(self, rule: LoadedRule, site: str, match: Match) -> bool:
        for name, allowed in rule.declared.guards.items():
            if name not in match.bindings.metas:
                continue
            value = self.defaults.value_of(match.bindings.metas[name])
            if value not in allowed:
                shown = "unknown" if value is None else repr(value)
                text = self.parsed.text(match.bindings.metas[name])
                reason = f"`{text}` is {shown} by default, the rule needs {' or '.join(map(repr, allowed))}"
                self.failures.append(Failure(rule, site, reason=reason, node=match.bindings.metas[name]))
                return False
        return True

    def _required(self, application: Application, by_name: dict[str, LoadedRule]) -> list[Application] | None:
        """The on-demand rules an application needs, each found and sound; None when one is not."""
        needs: list[Application] = []
        attributes = dict(application.attributes)
        for attribute, rule_name in application.rule.declared.requires.items():
            name = attributes.get(attribute, attribute)
            classes = self._classes_of(application, name)
            rule = by_name.get(rule_name)  # None where it was left out on purpose
            found = [self._in_class(rule, cls) if rule else None for cls in classes]
            missing = next((cls for cls, need in zip(classes, found, strict=True) if need is None), None)
            if missing is not None or not classes:
                reason = f"`{rule_name}` does not take `{missing}.forward`, which `{application.rule.name}` needs"
                if not classes:
                    reason = f"the class of `{name}` is not of this file"
                self.failures += [Failure(application.rule, site, reason=reason) for site in application.sites]
                return None
            needs += [need for need in found if need is not None]
        return needs

    def _in_class(self, rule: LoadedRule, cls: str) -> Application | None:
        """The rule with all its edits in one class."""
        hits: list[Hit] = []
        shared = Bindings()
        for edit in rule.edits:
            places = [place for place in self._places(edit) if place[1] == cls]
            found = [hit for place in places for hit in self._hits(rule, edit, place, shared)]
            if len(found) != 1:
                return None
            hits += found
            shared = Bindings(attributes=found[0].match.bindings.attributes)
        application = Application(rule, tuple(hits), tuple(shared.attributes.items()))
        return application if self._sound(application) else None

    def _classes_of(self, application: Application, attribute: str) -> list[str]:
        found: list[str] = []
        for owner in dict.fromkeys(hit.owner for hit in application.hits if hit.owner):
            for cls in (owner, *self.anatomy.subclasses(owner)):
                member = self.anatomy.members[cls].get(attribute)
                found += [c for c in (member.classes if member else ()) if c not in found]
        return found

    def _sound(self, application: Application) -> bool:
        fault = unsound(application, self.parsed, self.anatomy)
        if fault is None:
            return True
        for site in application.sites:
            node = fault.node if site == fault.site else None
            self.failures.append(Failure(application.rule, site, reason=fault.reason, node=node))
        return False

    def _whole_merges(self, found: list[Application]) -> list[Application]:
        """Without the applications of a rule whose merge would not hold for the whole module."""
        rejected: set[str] = set()
        for rule in {a.rule.name: a.rule for a in found if a.rule.declared.merges}.values():
            mine = [a for a in found if a.rule.name == rule.name]
            for reason, node in broken_merges(rule, mine, self.parsed, self.anatomy, self.converted):
                rejected.add(rule.name)
                self.failures += [Failure(rule, hit.site, None, reason, node) for a in mine for hit in a.hits]
        return [a for a in found if a.rule.name not in rejected]

    def _fail_everywhere(self, rule: LoadedRule, reason: str, skip: str = "") -> None:
        for edit in rule.edits:
            if edit.edit.unit != "expression":
                self.failures += [Failure(rule, p[0], reason=reason) for p in self._places(edit) if p[0] != skip]

    def _explain(self, rule: LoadedRule, site: str, other: str) -> None:
        """`site` matched, `other`, where the rule must apply too, did not: its reason is this site's reason."""
        there = next((f for f in self.failures if f.rule is rule and f.site == other and f.reason), None)
        if there is None:
            self.failures.append(Failure(rule, site, reason=f"it matches here but not `{other}`"))
        else:
            self.failures.append(Failure(rule, site, reason=there.reason, node=there.node))

"""What a match must not do to the code around it: one file a concern, each check asked before anything is applied.

A check takes a `Case` and gives the first thing that the application would change more than its rule says, or None.
The order of `CHECKS` is the order of the reasons.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from porter.match.found import Application
from porter.match.soundness.attributes import removed_attribute, taken_attribute
from porter.match.soundness.callers import unreached_taker
from porter.match.soundness.check import Case, Found
from porter.match.soundness.classes import defined_again, dispatched, exchanged_member, remade_class, set_again, wrapped
from porter.match.soundness.names import hidden_name
from porter.match.soundness.patches import bound_again, patched, patched_beside, table_handed_on
from porter.match.soundness.signature import decorated, derived_class, other_return
from porter.match.soundness.strings import unfit_for_string
from porter.match.soundness.values import constant_value, early_use, opened_value, stray_use
from porter.match.soundness.widths import several_numbers
from porter.match.subject import Subject
from porter.tree import Node

CHECKS: tuple[Callable[[Case], Found], ...] = (
    constant_value,
    stray_use,
    early_use,
    removed_attribute,
    taken_attribute,
    hidden_name,
    decorated,
    other_return,
    derived_class,
    opened_value,
    unreached_taker,
    unfit_for_string,
    bound_again,
    remade_class,
    dispatched,
    defined_again,
    several_numbers,
    wrapped,
    set_again,
    exchanged_member,
    patched,
    table_handed_on,
    patched_beside,
)


@dataclass(frozen=True)
class Fault:
    """Why an application is not applied, and at which code of which site."""

    site: str
    reason: str
    node: Node | None


def unsound(application: Application, subject: Subject) -> Fault | None:
    """The first reason why this application would change more than its rule says, or None."""
    for hit in application.hits:
        case = Case(hit, application, subject.tree, subject.anatomy, subject.beside)
        for check in CHECKS:
            found = check(case)
            if found is not None:
                return Fault(hit.site, *found)
    return None

"""The wheel for tests that need it: skipped with the reason where it cannot be had, an error where CI=true."""

import os
from pathlib import Path

import pytest

from porter.diagnostics import Refused
from porter.lowering.installation import find_or_install
from porter.lowering.stand_ins import cann_is_installed, find_or_build

LLAMA = Path(__file__).parents[2] / "generated_models" / "llama2"


def need_wheel():
    found = find_or_install(lambda what, done, total: None)
    if not isinstance(found, Refused) and not cann_is_installed():
        built = find_or_build(found)
        found = built if isinstance(built, Refused) else found
    if isinstance(found, Refused):
        first = found.diagnostics[0]
        reason = f"nothing is lowered here: {first.message} ({'; '.join(first.notes) or first.help})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def wheel():
    return need_wheel()

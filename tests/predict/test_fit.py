"""The constants are what a fresh fit gives, and the errors are those that are stated, row by row."""

import json
from dataclasses import asdict

import pytest

from porter.predict.chips import CHIPS
from porter.predict.duration import Constants
from porter.predict.kernels import Kernel
from porter.predict.predict import CONSTANTS, FITTED, step_of
from tests.predict import fit


@pytest.fixture(scope="module")
def halves():
    return fit.figures()


@pytest.fixture(scope="module")
def fresh(halves):
    return fit.fit(halves[0])


def test_every_other_row_is_fitted(halves):
    rows = json.loads((fit.HERE / "published.json").read_text())["rows"]
    fitted, held_out = ([each.row for each in half[::2]] for half in halves)
    assert (fitted, held_out) == (rows[::2], rows[1::2])
    assert len(rows) == 48


def test_a_fresh_fit_gives_the_constants(fresh):
    for name, value in asdict(fresh).items():
        assert value == pytest.approx(getattr(CONSTANTS, name), rel=1e-3), name


def test_the_errors_are_as_stated(halves):
    assert [fit.summary(half, CONSTANTS) for half in halves] == [FITTED["fitted"], FITTED["held_out"]]


def test_nothing_near_fits_better(halves, fresh):
    def lost(constants):
        return sum(fit.np.log(each.predicted(constants) / each.published) ** 2 for each in halves[0])

    for name, value in asdict(fresh).items():
        for factor in (0.97, 1.03):
            other = min(value * factor, 1.0) if name in fit.SHARES else value * factor
            assert lost(Constants(**(asdict(fresh) | {name: other}))) >= lost(fresh) * (1 - 1e-6), name


def test_the_fit_times_kernels_as_a_prediction_does(halves):
    """Both say the time of a step; they are written apart."""
    for each in halves[0][::7]:
        columns = zip(each.bytes, each.flops, each.summed, each.count, strict=True)
        kernels = {Kernel(f"kind {index}", *map(int, row)): int(count) for index, (*row, count) in enumerate(columns)}
        chip, ranks = CHIPS[fit.CHIP], each.row["cards"]
        step = step_of(each.phase, kernels, chip, ranks, changing=each.changing)
        assert step.milliseconds == pytest.approx(1e3 * each.predicted(CONSTANTS))


def test_a_fit_finds_constants_that_times_were_made_with(halves):
    """Times made by other constants lead back to their predictions."""
    made_with = Constants(0.6, 0.3, 0.7, 0.4, 4e-6, 3e-5, 2e-5)
    made = [fit.Figure(**(vars(each) | {"published": each.predicted(made_with)})) for each in halves[0]]
    found = fit.fit(made)
    assert max(abs(each.error(found)) for each in made) < 0.01

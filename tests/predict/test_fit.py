"""The constants are what a fresh fit gives, and the errors are those that are stated, row by row."""

import json
from dataclasses import asdict

import pytest

from porter.predict.chips import CHIPS
from porter.predict.duration import Constants
from porter.predict.kernels import Kernel
from porter.predict.steps import CONSTANTS, FITTED, step_of
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


def test_recorded_products_of_all_batches_are_as_many_as_the_model_asks_for(halves):
    """Llama-2-70B over 8 cards: a rank's part of layers and head, the head once a sequence."""
    layer = 2 * 8192 * 8192 + 2 * 8192 * 1024 + 3 * 8192 * 28672
    rows = [
        each for half in halves for each in half if each.row["model"] == "llama-2-70b" and each.row["step"] == "fused"
    ]
    assert sorted({each.row["batch"] for each in rows}) == [1, 4, 8, 16, 32, 48]
    for each in rows:
        batch = each.row["batch"]
        tokens = batch * 1024 if each.phase == "prefill" else batch
        attention = 2 * 2 * 80 * tokens * (1024 + 512) * 8 * 128  # 8 heads a rank, over all slots
        products = 2 * (tokens * 80 * layer + batch * 32000 * 8192) / 8
        assert (each.flops * each.count).sum() == products + attention


def test_more_sequences_take_longer(halves):
    for model, step in (("llama-2-70b", "fused"), ("llama-3-70b", "fused"), ("qwen2-7b", "qkv"), ("qwen2-72b", "qkv")):
        for phase in fit.PHASES:
            rows = [each for half in halves for each in half if (each.row["model"], each.row["step"]) == (model, step)]
            rows = sorted((each for each in rows if each.phase == phase), key=lambda each: each.row["batch"])
            times = [each.predicted(CONSTANTS) for each in rows]
            assert len(times) > 4
            assert times == sorted(times)

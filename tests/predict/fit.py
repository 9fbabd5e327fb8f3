"""Fits the constants of porter/predict on half of the published rows, and says how far off the other half is.

    python tests/predict/fit.py            the table: fitted rows, and those held out
    python tests/predict/fit.py --write    constants.json of porter/predict too

The rule, stated before any row was looked at: every other row in the order of published.json, the first one fitted.
Least squares of the logarithms of predicted over published, by Levenberg and Marquardt, from one start. Kernels come
from kernels.json, which lower_published.py makes of the rows.

The READMEs name the server, Atlas 800I A2, and not which of its chips. Ascend910B4 is assumed, the one with 32 GB:
every row fits it, the batches end where it is full, and the fitted rows use 0.8 of its bandwidth and of its peak; of a
chip with 64 GB it would be 0.4 and 0.65. Errors are the same with either, as both figures only scale the shares. One
held-out row was hardly timed on it: Atom-7B, batch 1, reads 13.5 GB in 14.2 ms, more than 0.8 TB/s.
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from porter.predict.chips import CHIPS
from porter.predict.duration import Constants
from porter.report.table import table

HERE = Path(__file__).parent
CHIP = "Ascend910B4"
PHASES = ("prefill", "decode")
CHANGING = ("original",)  # a growing cache: the decode graph's shapes change
SHARES = ("streamed", "computed", "linked")
START = Constants(0.7, 0.5, 0.6, 0.5, 5e-6, 2e-5, 3e-5)
TOLERANCE = 0.2


@dataclass(frozen=True)
class Figure:
    """One published time, in seconds, and the kernels of that step: arrays of equal length."""

    row: dict
    phase: str
    published: float
    bytes: np.ndarray
    flops: np.ndarray
    summed: np.ndarray
    count: np.ndarray

    @property
    def changing(self):
        return self.phase == "decode" and self.row["step"] in CHANGING

    def predicted(self, constants):
        """As `duration` has it, for all kernels at once."""
        chip = CHIPS[CHIP]
        share = np.where(self.flops > 0, constants.streamed, constants.moved)
        took = np.maximum(self.bytes / (chip.bandwidth * share), self.flops / (chip.peak * constants.computed))
        took = np.maximum(took, 2 * self.summed / self.row["cards"] / (chip.link * constants.linked))
        took = took + (constants.changing if self.changing else constants.launch)
        took = took + np.where(self.summed > 0, constants.latency, 0.0)
        return float((self.count * took).sum())

    def error(self, constants):
        return self.predicted(constants) / self.published - 1


def figures():
    """(fitted, held out)."""
    rows = json.loads((HERE / "published.json").read_text())["rows"]
    halves = [], []
    for index, (row, kernels) in enumerate(zip(rows, json.loads((HERE / "kernels.json").read_text()), strict=True)):
        for phase in PHASES:
            columns = [np.array(column, dtype=float) for column in list(zip(*kernels[phase], strict=True))[1:]]
            halves[index % 2].append(Figure(row, phase, row[phase] / 1e3, *columns))
    return halves


def fit(chosen):
    """The constants; SHARES stay between 0 and 1."""
    place = _free(START)
    damping, residual = 1e-2, _residuals(place, chosen)
    for _ in range(200):
        slope = np.stack(
            [(_residuals(place + step, chosen) - residual) / 1e-5 for step in np.eye(len(place)) * 1e-5], 1
        )
        normal = slope.T @ slope
        while True:
            step = np.linalg.solve(
                normal + damping * (np.diag(np.diag(normal)) + 1e-9 * np.eye(len(place))), -slope.T @ residual
            )
            tried = _residuals(place + step, chosen)
            if tried @ tried <= residual @ residual or damping > 1e9:
                break
            damping *= 4
        gained = residual @ residual - tried @ tried
        if damping > 1e9:
            break
        place, residual, damping = place + step, tried, damping / 4
        if gained < 1e-10:
            break
    return _constants(place)


def _residuals(place, chosen):
    constants = _constants(place)
    return np.array([np.log(each.predicted(constants) / each.published) for each in chosen])


def _free(constants):
    return np.array(
        [np.log(value / (1 - value)) if name in SHARES else np.log(value) for name, value in asdict(constants).items()]
    )


def _constants(place):
    return Constants(
        *(
            float(1 / (1 + np.exp(-value)) if name in SHARES else np.exp(value))
            for name, value in zip(Constants.names(), place, strict=True)
        )
    )


def summary(chosen, constants):
    errors = [abs(each.error(constants)) for each in chosen]
    return {
        "figures": len(errors),
        "within_20_percent": sum(error <= TOLERANCE for error in errors),
        "median_percent": round(100 * float(np.median(errors)), 1),
        "worst_percent": round(100 * max(errors), 1),
    }


def listed(chosen, constants):
    lines = []
    for one, two in zip(chosen[::2], chosen[1::2], strict=True):
        row = one.row
        cells = [f"{row['model']}, {row['cards']} cards, batch {row['batch']}", row["step"]]
        for each in (one, two):
            cells += [
                f"{1e3 * each.published:.1f}",
                f"{1e3 * each.predicted(constants):.1f}",
                f"{100 * each.error(constants):+.0f} %",
            ]
        lines.append(cells)
    header = ("", "step", "prefill ms", "predicted", "error", "decode ms", "predicted", "error")
    return table(header, lines, right=frozenset(range(2, 8)))


def main():
    fitted, held_out = figures()
    constants = fit(fitted)
    for name, chosen in (("fitted", fitted), ("held out", held_out)):
        print(f"{name}: {summary(chosen, constants)}\n\n{listed(chosen, constants)}\n")
    print(constants)
    if "--write" in sys.argv:
        data = {"chip": CHIP, "server": "Atlas 800I A2", "constants": asdict(constants)}
        data |= {"fitted": summary(fitted, constants), "held_out": summary(held_out, constants)}
        place = HERE.parents[1] / "porter" / "predict" / "constants.json"
        place.write_text(json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""What each rule is worth: which ports are asked about, and what becomes of the answers."""

import pytest

from porter.predict import by_rule as module
from porter.predict.by_rule import by_rule
from porter.predict.chips import CHIPS
from porter.predict.steps import CONSTANTS
from porter.predict.workload import Workload
from porter.verify.contract import shipped_configs
from tests.lowering.conftest import LLAMA

CHIP = CHIPS["Ascend910B3"]


def answered(kernels, grows=False):
    """A model of one layer whose steps are that many small kernels."""
    nodes = [
        {"type": "Data", "name": "x", "kernel": False, "inputs": [], "outputs": [[[1], "float16"]], "attributes": {}},
        *(
            {
                "type": "Sin",
                "name": f"n{index}",
                "kernel": True,
                "inputs": [["x", "x:0"]],
                "outputs": [[[1], "float16"]],
                "attributes": {},
            }
            for index in range(kernels)
        ),
    ]
    size = {"weights": 8, "cache": 8, "head_bytes": 0, "row": 2, "head": "", "summed": []}
    return {
        "failure": "",
        "grows": grows,
        "kinds": [0],
        "shown": [0],
        "sizes": {"1": size},
        "steps": {"prefill": {"1": nodes}, "decode": {"1": nodes}},
    }


@pytest.fixture(scope="module")
def found():
    asked = []

    def ask(jobs, soc, progress):
        asked.extend(jobs)
        return [answered(100), answered(150), {"failure": "no converter for it"}, answered(300, grows=True)]

    config = shipped_configs()["llama-2-7b"]
    rules = ("swiglu", "add_norm_across")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ask", ask)
        return by_rule(LLAMA, Workload(), CHIP, config_json=config, rules=rules), asked


def test_each_port_and_the_source_are_asked_about_at_the_same_sizes(found):
    _, asked = found
    assert [job["called"] for job in asked] == [
        "all rules",
        "without swiglu",
        "without add_norm_across",
        "llama2, source",
    ]
    assert [job["model"] for job in asked] == ["port", "port", "port", "source"]
    assert len({job["directory"] for job in asked}) == 3
    assert asked[3]["context"] == 1024 + 512
    assert all(job["config"]["hidden_size"] == 4096 for job in asked)


def test_worth_is_what_a_step_takes_longer(found):
    result, _ = found
    whole, without = result.ports[:2]
    assert (whole.without, without.without) == ("", "swiglu")
    assert without.decode - whole.decode == pytest.approx(50 * 1e3 * CONSTANTS.launch, rel=1e-3)
    assert result.ports[2].stopped == "no converter for it"
    assert result.ports[2].decode is None
    longer = 1e3 * (300 * CONSTANTS.changing - 100 * CONSTANTS.launch)
    assert result.source.decode - whole.decode == pytest.approx(longer, rel=1e-3), (
        "shapes that change from step to step"
    )

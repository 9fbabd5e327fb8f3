"""The graphs of a port, lowered once, to be executed as they are and with one thing wrong."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from porter.diagnostics import Refused
from porter.graph.execute import graphs_job, ran, ran_in
from porter.graph.values import Graph, graph_of
from porter.lowering.lower import SOC, file_of
from porter.lowering.process import ask
from porter.verify.pair import load, write_checkpoint
from porter.verify.parity import quiet
from porter.verify.port import open_to_compare
from porter.verify.tiny import tiny_config
from tests.lowering.conftest import LLAMA, need_wheel


@dataclass
class Lowered:
    """A source and its port with the same weights, and the graphs of the port; `file` is the port's own."""

    source: Any
    port: Any
    graphs: dict[str, Graph]
    file: str
    folder: Path

    def ran_in(self, graphs: dict[str, Graph] | None = None, steps: int = 2) -> Any:
        with quiet(), torch.no_grad():
            return ran_in(self.source, self.port, graphs or self.graphs, self.file, self.folder, steps=steps)

    def ran(self, graphs: dict[str, Graph] | None = None, steps: int = 2) -> Any:
        with quiet(), torch.no_grad():
            return ran(self.source, self.port, graphs or self.graphs, self.file, steps=steps)


def lowered(
    directory: Path, folder: Path, *, unchecked: bool = False, dtype: torch.dtype = torch.float32
) -> Lowered | str:
    """Or why it does not convert. `unchecked`: nodes may say something else than their call."""
    need_wheel()
    port = open_to_compare(directory, edited=True)
    assert not isinstance(port, Refused), port
    with quiet():
        source_class = port.load_source_class()
        write_checkpoint(source_class, tiny_config(source_class.config_class), folder, dtype)
        job = {**graphs_job(directory, folder, dtype, unchecked=unchecked), "soc": SOC}
        answer = ask("graphs", job, lambda *step: None)
        assert not isinstance(answer, Refused), answer
        if answer["failure"]:
            return answer["failure"]["reason"]
        source, model = (load(kind, folder, dtype) for kind in (source_class, port.load_class()))
    graphs = {name: graph_of(graph) for name, graph in answer["graphs"].items()}
    return Lowered(source, model, graphs, file_of(port), folder)


@pytest.fixture(scope="session")
def llama(tmp_path_factory) -> Lowered:
    found = lowered(LLAMA, tmp_path_factory.mktemp("llama"))
    assert isinstance(found, Lowered), found
    return found

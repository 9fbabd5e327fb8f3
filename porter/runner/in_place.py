"""For inductor: the KV cache is written in place, not copied every step.

Contract: where a graph computes `written = npu.scatter_update(states, ...)`, later stores `written` into `states`, and
does not read `states` in between or after, the two become one `npu.scatter_update_`. Every other graph stays as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files


class WriteInPlace(CustomGraphPass):
    """A pass over a graph that was made functional."""

    def __call__(self, graph: torch.fx.Graph) -> None:
        place = {node: index for index, node in enumerate(graph.nodes)}
        for store in graph.find_nodes(op="call_function", target=torch.ops.aten.copy_.default):
            states, written = store.args[0], store.args[1]
            if written.target is not torch.ops.npu.scatter_update.default or written.args[0] is not states:
                continue
            if any(place[user] > place[written] for user in states.users if user is not store):
                continue
            with graph.inserting_before(written):
                in_place = graph.call_function(torch.ops.npu.scatter_update_.default, written.args, written.kwargs)
                in_place.meta.update(written.meta)
            store.replace_all_uses_with(states)
            graph.erase_node(store)
            written.replace_all_uses_with(states)  # what the op returns is `states` itself
            graph.erase_node(written)

    def uuid(self) -> Any:
        return get_hash_for_files((str(Path(__file__)),))

"""The nodes of a tree in the order of the text, walked once: what stands below a node is one stretch of them."""

from __future__ import annotations

from collections.abc import Sequence

from porter.tree.fields import Node, children


class Order:
    """All nodes from a root on. `parents` has the node that holds each."""

    def __init__(self, root: Node) -> None:
        self.parents: dict[Node, Node] = {}
        self._nodes: list[Node] = []
        self._starts: dict[Node, int] = {}
        self._ends: list[int] = []
        pending: list[Node | int] = [root]  # a number: all below the node of that number is behind us
        while pending:
            node = pending.pop()
            if isinstance(node, int):
                self._ends[node] = len(self._nodes)
                continue
            number = self._starts[node] = len(self._nodes)
            self._nodes.append(node)
            below = children(node)
            self._ends.append(number + 1)
            if below:
                self.parents.update(dict.fromkeys(below, node))
                pending.append(number)
                below.reverse()
                pending += below

    def below(self, root: Node) -> Sequence[Node]:
        """The root and every node below it."""
        start = self._starts[root]
        return self._nodes[start : self._ends[start]]

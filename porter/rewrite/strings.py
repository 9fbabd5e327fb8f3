"""An expression as it may stand in an f-string: on one line, with the other kind of quotes."""

from __future__ import annotations

from typing import Any

import libcst as cst


def inside_string(node: Any, string: cst.FormattedString) -> Any:
    """The expression for a field of `string`; that it can be written so was asked before the rule was applied."""
    return node.visit(_Inside(string.quote[0]))


class _Inside(cst.CSTTransformer):
    def __init__(self, quote: str) -> None:
        super().__init__()
        self._quote = quote

    def leave_SimpleString(self, original_node: cst.SimpleString, updated_node: cst.SimpleString) -> cst.SimpleString:
        if self._quote not in updated_node.value:
            return updated_node
        other = "'" if self._quote == '"' else '"'
        return updated_node.with_changes(value=updated_node.value.replace(self._quote, other))

    def leave_ParenthesizedWhitespace(
        self, original_node: cst.ParenthesizedWhitespace, updated_node: cst.ParenthesizedWhitespace
    ) -> cst.SimpleWhitespace:
        return cst.SimpleWhitespace(" ")

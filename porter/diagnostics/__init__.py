"""Errors as values, for every room: what is wrong, where, what to do; and what a mistyped name was meant to be.

Takes:    nothing of porter.
Gives:    `Diagnostic`, `Span`, `Refused`, `refused`, `nearest`.
Imported: by every room. Text is made of them in `report` alone.
"""

from porter.diagnostics.nearest import nearest
from porter.diagnostics.values import Diagnostic, Refused, Span, refused

__all__ = ["Diagnostic", "Refused", "Span", "nearest", "refused"]

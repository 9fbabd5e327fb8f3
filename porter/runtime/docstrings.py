"""`auto_docstring` for ports: transformers' own, without what it prints.

Contract: the docstrings are transformers'. It takes the name of a file's folder for a model's, looks that up, and where
the folder is one of ports prints to stdout that the library should be amended, ten times a port: that is addressed to
the library's developers, and stdout is the user's.
"""

from __future__ import annotations

import contextlib
import io
from functools import partial
from typing import Any

from transformers.utils import auto_docstring as _auto_docstring


def auto_docstring(obj: Any = None, **options: Any) -> Any:
    """`@auto_docstring` or `@auto_docstring(custom_intro=...)`, as in transformers."""
    if obj is None:
        return partial(auto_docstring, **options)
    with contextlib.redirect_stdout(io.StringIO()):
        return _auto_docstring(obj, **options)

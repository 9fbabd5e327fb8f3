"""What libraries log and the runner says better, kept out of the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unsaid(library: str, words: str) -> Iterator[None]:
    """While it is entered, records of the logger `library` with these words in them are dropped."""
    logger = logging.getLogger(library)

    def keep(record: logging.LogRecord) -> bool:
        return words not in record.getMessage()

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)

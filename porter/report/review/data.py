"""A review as JSON: the value itself, without the whole texts that it was made of."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from porter.report.review.values import Review


def review_data(review: Review) -> dict[str, Any]:
    data = asdict(review)
    for name in ("old", "new"):
        del data[name]
    counts = {status: review.count(status) for status in ("ported", "verdict", "partly", "kept", "left")}
    return {**data, "counts": {**counts, "unknown": review.unknown}}

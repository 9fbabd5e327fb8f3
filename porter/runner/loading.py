"""The model with the checkpoint's weights, all of them: what transformers only reports is an error here.

Contract: names that transformers itself passes over do not count: tied embeddings, what the source's
`_keys_to_ignore_on_load_*` say, the rotary buffers of old checkpoints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from porter.runner.checkpoint import other_weights, refusing
from porter.runner.configuration import check_dtype, told
from porter.runner.refusal import CannotRun
from porter.runner.unsaid import unsaid
from porter.runtime.stored import original_names

_REPORT = "LOAD REPORT"  # transformers' table of the same names, which says that they were drawn anew


def load_whole(model_class: Any, folder: Path, dtype: Any) -> Any:
    """The port with the weights in `folder`, on the CPU.

    CannotRun: P131 for tensors that are missing, that the port has no place for, or of other shapes; P136 for what does
    not load at all; P130 and P132 as `check_checkpoint`.
    """
    try:
        with refusing(), unsaid("transformers.modeling_utils", _REPORT):
            model, found = model_class.from_pretrained(
                folder, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except CannotRun:
        raise
    except Exception as error:  # files of others, read by the code of others
        message = f"the checkpoint in `{folder}` does not load"
        raise CannotRun("P136", message, "see that the source model loads it", told(error)) from error
    missing = original_names(model, found["missing_keys"])
    unexpected = original_names(model, found["unexpected_keys"])
    other = sorted(f"{name} {tuple(theirs)}, not {tuple(ours)}" for name, theirs, ours in found["mismatched_keys"])
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": other}
    if any(kinds.values()):
        raise other_weights(kinds)
    check_dtype(model.dtype)
    return model

"""`porter export`: a port beside a checkpoint, for those who load it with `trust_remote_code=True`."""

from __future__ import annotations

from pathlib import Path

import click

from porter.cli.models import edited_option, takes_port
from porter.cli.talk import Command, answer, as_json, refuse, say
from porter.diagnostics import Refused


@click.command(cls=Command)
@takes_port
@click.option("--to", "checkpoint", metavar="CHECKPOINT", required=True, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace model code that the checkpoint has.")
@edited_option
@as_json
def export(directory: Path, checkpoint: Path, force: bool, edited: bool, as_json: bool) -> int:
    """Write the port NAME, or in DIR, into a checkpoint: `AutoModelForCausalLM.from_pretrained` then is the port.

    Only with `trust_remote_code=True`; without it transformers loads the source's model as before. Weights stay as they
    are, and of config.json all but `auto_map`. Whoever loads it needs porter installed.

    \b
    Examples:
      porter export llama2 --to ~/checkpoints/Llama-2-7b-hf
      porter export generated_models/mine --to ~/checkpoint --force
    """
    from porter.emit.export import export as export_port

    written = export_port(directory, checkpoint, force=force, edited=edited)
    if isinstance(written, Refused):
        return refuse(written, as_json=as_json)
    if not as_json:
        say("whoever loads it needs porter installed, and trust_remote_code=True")
    replaced = f"\nauto_map said {written.before}" if written.before is not None else ""
    if written.dropped is not None:
        replaced += f"\nauto_map said AutoConfig: {written.dropped}; dropped: the port was not made with that"
    data = {
        "folder": str(checkpoint),
        "files": list(written.files),
        "entry": written.entry,
        "before": written.before,
        "dropped": written.dropped,
    }
    listed = "\n".join(f"  {name}" for name in written.files)
    return answer(True, lambda: f"wrote {checkpoint}\n{listed}{replaced}", lambda: data, as_json=as_json)

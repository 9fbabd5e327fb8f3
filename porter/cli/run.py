"""`porter run`: text in, text out, with a ported model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from porter.cli.talk import answer, as_json, refuse, working
from porter.diagnostics import Diagnostic, Refused


@click.command()
@click.argument("name")
@click.option("--model-path", metavar="P", required=True, type=click.Path(path_type=Path), help="Its checkpoint.")
@click.option("--prompt", "prompts", multiple=True, required=True, help="May be repeated: one batch.")
@click.option("--execute-mode", type=click.Choice(["eager", "dynamo"]), default="eager", show_default=True)
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=64, show_default=True)
@as_json
def run(
    name: str, model_path: Path, prompts: tuple[str, ...], execute_mode: str, max_new_tokens: int, as_json: bool
) -> int:
    """Run the ported model NAME on an unchanged checkpoint.

    \b
    Example:
      porter run llama2 --model-path ~/checkpoints/Llama-2-7b-hf --prompt "Once upon a time"
    """
    unknown = _unusable(name, model_path)
    if unknown is not None:
        return refuse(unknown, as_json=as_json)
    with working(f"running {name}"):
        from porter.runner import LlmModelRunner

        runner = LlmModelRunner(name, str(model_path), max_new_tokens=max_new_tokens)
        runner.execute_mode = execute_mode
        answers: Any = runner.execute_model(list(prompts), max_new_tokens=max_new_tokens)
    texts = [str(getattr(one, "text", one)) for one in answers or ()]
    return answer(
        True,
        lambda: "\n\n".join(f"{prompt}{text}" for prompt, text in zip(prompts, texts, strict=False)),
        lambda: {"name": name, "answers": [{"prompt": p, "text": t} for p, t in zip(prompts, texts, strict=False)]},
        as_json=as_json,
    )


def _unusable(name: str, model_path: Path) -> Refused | None:
    """A misspelt name or path is found before anything heavy is loaded."""
    from porter.nearest import nearest
    from porter.runtime.registry import registered

    if not model_path.is_dir():
        help = "give the folder of a checkpoint, as downloaded"
        return Refused((Diagnostic("P081", f"no checkpoint folder `{model_path}`", help=help),))
    known = registered()
    if name in known:
        return None
    close = " or ".join(f"`{other}`" for other in nearest(name, known))
    help = f"did you mean {close}?" if close else f"registered: {', '.join(known) or 'none, convert a model first'}"
    return Refused((Diagnostic("P080", f"no ported model `{name}`", help=help),))

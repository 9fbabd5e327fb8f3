"""`porter prove` and `porter verify`: claims with their figures. These load torch and take a while."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from porter.cli.talk import answer, as_json, progress, refuse
from porter.diagnostics import Diagnostic, Refused


@click.command()
@click.argument("rules", metavar="[RULE]...", nargs=-1)
@as_json
def prove(rules: tuple[str, ...], as_json: bool) -> int:
    """Prove rules by random draws: what a rule writes computes what it replaces. Without RULE, all of them.

    \b
    Examples:
      porter prove
      porter prove norm_rms swiglu
    """
    unknown = _unknown_rules(rules)
    if unknown is not None:
        return refuse(unknown, as_json=as_json)
    from porter.verify.prove import prove as prove_rules

    return _claims(prove_rules(rules), "proving rules", as_json=as_json)


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--level", type=click.Choice(["parity"]), default="parity", show_default=True, help="What to claim.")
@as_json
def verify(directory: Path, level: str, as_json: bool) -> int:
    """Verify the port in DIR against the model it came from.

    \b
    Example:
      porter verify generated_models/llama2
    """
    from porter.emit.account import read_account

    account = read_account(directory)
    if isinstance(account, Refused):
        return refuse(account, as_json=as_json)
    from porter.verify.parity import verify as verify_parity

    return _claims(verify_parity(directory), f"verifying {directory}, {level}", as_json=as_json)


def _unknown_rules(names: tuple[str, ...]) -> Refused | None:
    """A misspelt rule is found before torch is loaded; so is a broken one."""
    from porter.nearest import nearest
    from porter.rule import load_rules
    from porter.shipped import shipped

    loaded = load_rules(shipped("rules"))
    if isinstance(loaded, Refused):
        return loaded
    known = [rule.name for rule in loaded]
    for name in names:
        if name not in known:
            close = " or ".join(f"`{other}`" for other in nearest(name, known))
            help = f"did you mean {close}?" if close else "see `porter rules`"
            return Refused((Diagnostic("P042", f"no rule `{name}`", help=help),))
    return None


def _claims(outcome: Iterable[Any] | Refused, what: str, *, as_json: bool) -> int:
    from porter.report import of_results, results_data

    if isinstance(outcome, Refused):
        return refuse(outcome, as_json=as_json)
    results = list(progress(outcome, what))
    passed = all(result.passed for result in results)
    return answer(passed, lambda: of_results(results), lambda: {"claims": results_data(results)}, as_json=as_json)

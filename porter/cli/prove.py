"""`porter prove` and `porter verify`: claims with their figures. These load torch and take a while."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from porter.cli.completion import configs
from porter.cli.completion import rules as known_rules
from porter.cli.consent import trust_option
from porter.cli.idle import refuse_idle
from porter.cli.models import edited_option, other_release_installed, say_if_edited, takes_port
from porter.cli.rulebook import IDENTITIES, no_such_rule, rulebook, rules_option
from porter.cli.sizes import sizes_named
from porter.cli.talk import Command, answer, as_json, refuse, steps, verbose_option
from porter.diagnostics import Refused

if TYPE_CHECKING:
    from porter.rulebook import LoadedRule
    from porter.verify.finding import Check
    from porter.verify.port import Port

LEVELS = ("parity", "capture", "contract")


@click.command(cls=Command)
@click.argument("rules", metavar="[RULE]...", nargs=-1, shell_complete=known_rules)
@rules_option
@verbose_option
@as_json
def prove(rules: tuple[str, ...], folders: tuple[Path, ...], verbose: bool, as_json: bool) -> int:
    """Prove rules by random draws: what a rule writes computes what it replaces.

    Without RULE, all of them; those of the folders, where --rules names some.

    \b
    Examples:
      porter prove
      porter prove norm_rms swiglu
      porter prove --rules ./rules
    """
    book = _asked(rules, folders)
    if isinstance(book, Refused):
        return refuse(book, as_json=as_json)
    if not rules and folders:
        given = {folder.resolve() for folder in folders}
        rules = tuple(rule.name for rule in book if rule.folder and rule.folder.path.resolve() in given)
        if any((folder / "shared" / "identities.py").is_file() for folder in folders):
            rules = (IDENTITIES, *rules)
    from porter.report.claims import of_proofs, proofs_data
    from porter.verify.prove import prove as prove_rules

    with steps("proving") as progress:
        proofs = prove_rules(rules, rules=book, progress=progress)
    if isinstance(proofs, Refused):
        return refuse(proofs, as_json=as_json)
    passed = all(proof.passed for proof in proofs)
    return answer(
        passed, lambda: of_proofs(proofs, verbose=verbose), lambda: {"proofs": proofs_data(proofs)}, as_json=as_json
    )


@click.command(cls=Command)
@takes_port
@click.option("--level", type=click.Choice(LEVELS), default="parity", show_default=True, help="What to claim.")
@click.option("--quick", is_flag=True, help="parity: only the base configuration, not its variants.")
@click.option(
    "--config",
    metavar="JSON",
    shell_complete=configs,
    help="contract: a config.json, the folder that holds it, or a name such as llama-2-7b.",
)
@click.option("--soc", default="Ascend910B3", show_default=True, help="contract: the chip, as its driver names it.")
@click.option("--tp", type=click.IntRange(1), default=1, show_default=True, help="contract: tensor-parallel ranks.")
@edited_option
@trust_option
@verbose_option
@as_json
def verify(
    directory: Path,
    level: str,
    quick: bool,
    config: str | None,
    soc: str,
    tp: int,
    edited: bool,
    trust_remote_code: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Verify the port NAME, or in DIR: against the model it came from, as graphs, or at a real model's sizes.

    \b
    Examples:
      porter verify generated_models/llama2
      porter verify generated_models/llama2 --level capture
      porter verify generated_models/llama2 --level contract --config llama-2-70b --tp 8
      porter verify generated_models/mine --trust-remote-code
    """
    if (level == "contract") != (config is not None):
        raise click.UsageError("--level contract and --config go together")
    refuse_idle(level == "parity", f"at --level {level}", "quick")
    refuse_idle(level == "contract", f"at --level {level}", "soc", "tp")
    sizes = sizes_named(config) if config is not None else None
    if isinstance(sizes, Refused):
        return refuse(sizes, as_json=as_json)
    from porter.verify.port import open_port, open_to_compare

    fault = other_release_installed()
    if fault is not None:
        return refuse(fault, as_json=as_json)
    may_be: dict[str, Any] = {"edited": edited, "trust_remote_code": trust_remote_code}
    opened = (open_to_compare if level == "parity" else open_port)(directory, **may_be)
    if isinstance(opened, Refused):
        return refuse(opened, as_json=as_json)
    from porter.report.claims import checks_data, of_checks
    from porter.report.kernel import kernel_claim

    changed = say_if_edited(directory) if edited else ()
    checks = _checked(directory, level, sizes, may_be, quick=quick, soc=soc, tp=tp)
    if isinstance(checks, Refused):
        return refuse(checks, as_json=as_json)
    failed = any(check.failed for check in checks)
    kernel = kernel_claim(directory, soc if level == "contract" else None)
    warnings = _warnings(opened, sizes, tp) if sizes is not None else ()
    data = {"folder": str(directory), "level": level, "edited": list(changed)}
    found = {"checks": checks_data(checks), "warnings": list(warnings), "kernel": kernel}
    return answer(
        not failed,
        lambda: of_checks(checks, kernel, warnings, verbose=verbose),
        lambda: {**data, **found},
        as_json=as_json,
    )


def _checked(
    directory: Path, level: str, sizes: Path | None, may_be: dict[str, Any], *, quick: bool, soc: str, tp: int
) -> tuple[Check, ...] | Refused:
    """The checks of a level; `sizes` are those of the contract's."""
    with steps(f"verifying {directory}") as progress:
        if level == "capture":
            from porter.verify.capture import capture

            return capture(directory, progress=progress, **may_be)
        if sizes is not None:
            from porter.verify.contract import contract

            return contract(directory, sizes, soc=soc, tp=tp, progress=progress, **may_be)
        from porter.verify.parity import verify as verify_parity

        return verify_parity(directory, quick=quick, progress=progress, **may_be)


def _warnings(port: Port, config: Path, tp: int) -> tuple[str, ...]:
    """What people saw go wrong on devices, where the port does it; nothing where it does not take the configuration."""
    from porter.accept.configuration import sizes_of
    from porter.accept.plan import NotTaken, forms_used

    sizes = sizes_of(port.load_class().config_class, str(config))
    try:
        return () if isinstance(sizes, Refused) else forms_used(port, sizes, tp)
    except NotTaken:
        return ()


def _asked(names: tuple[str, ...], folders: tuple[Path, ...]) -> tuple[LoadedRule, ...] | Refused:
    """The rules, to be proved. A misspelt one is found before torch is loaded; so is a broken one."""
    from porter.rulebook import unknown_rule

    unknown = no_such_rule(names, folders)
    if unknown is not None:
        return unknown
    loaded = rulebook(folders, proving=True)
    return loaded if isinstance(loaded, Refused) else unknown_rule(names, loaded) or loaded

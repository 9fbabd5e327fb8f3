"""Rules that were loaded once are kept: the same rules, from nothing but the same files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import libcst
import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.rewrite import Ported
from porter.rulebook import LoadedRule, load_rules
from porter.rulebook.kept import keep, kept, name_of_kept
from porter.shipped import cache_folder, shipped
from porter.source import Source, load_source


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules_of_the_disk: None) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder() / "rules"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A few of those that come with porter, and what rules share."""
    shutil.copytree(shipped("rules") / "shared", tmp_path / "rules" / "shared")
    for name in ("swiglu", "gelu", "rotary_half", "logits_last"):
        shutil.copy(shipped("rules") / f"{name}.py", tmp_path / "rules")
    return tmp_path / "rules"


@pytest.fixture
def every_rule(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped("rules"), tmp_path / "rules"))


def loaded(folder: Path) -> tuple[LoadedRule, ...]:
    found = load_rules(folder)
    assert not isinstance(found, Refused), found
    return found


def nothing_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(text: str) -> None:
        raise AssertionError(f"parsed: {text[:80]}")

    monkeypatch.setattr(libcst, "parse_module", fail)


def test_the_same_rules_are_not_parsed_again(every_rule: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = loaded(every_rule)
    nothing_parsed(monkeypatch)
    again = loaded(every_rule)
    assert again == first and [rule.sha256 for rule in again] == [rule.sha256 for rule in first]
    assert again is not first


@pytest.mark.parametrize("spec", ["transformers.models.llama", "transformers.models.olmo2"])
def test_kept_rules_write_the_same_port(spec: str) -> None:
    source = load_source(spec)
    assert isinstance(source, Source)
    first, again = (convert(source, name="x", rules=loaded(shipped("rules"))) for _ in range(2))
    assert isinstance(first, Ported) and isinstance(again, Ported)
    assert (first.code, first.sites, first.rules) == (again.code, again.sites, again.rules)


@pytest.mark.parametrize("file", ["swiglu.py", "shared/rotary.py", "shared/identities.py"])
def test_a_changed_file_is_read(rules: Path, file: str) -> None:
    before = name_of_kept(rules)
    loaded(rules)
    path = rules / file
    path.write_text(path.read_text() + "\n\n# another line\n")
    assert name_of_kept(rules) != before
    path.write_text("def broken(\n")
    assert isinstance(load_rules(rules), Refused)


def test_a_file_more_or_less_is_another_folder(rules: Path) -> None:
    names = {rule.name for rule in loaded(rules)}
    (rules / "logits_last.py").rename(rules / "logits_of_the_last.py")
    assert {rule.name for rule in loaded(rules)} == names - {"logits_last"} | {"logits_of_the_last"}


def test_what_refuses_is_not_kept(rules: Path, cache: Path) -> None:
    (rules / "swiglu.py").write_text("rule = 1\n")
    assert isinstance(load_rules(rules), Refused)
    assert not cache.exists()


@pytest.mark.parametrize("damage", [b"", b"\x80\x05.", b"no pickle", b"\x80\x05]\x94."])
def test_a_damaged_file_is_no_cache(rules: Path, cache: Path, damage: bytes) -> None:
    first = loaded(rules)
    (file,) = cache.iterdir()
    file.write_bytes(damage)
    assert loaded(rules) == first
    assert file.read_bytes() != damage


def test_what_others_can_write_is_not_read(rules: Path, cache: Path) -> None:
    loaded(rules)
    name = name_of_kept(rules)
    assert name is not None and kept(name) is not None
    cache.chmod(0o777)
    assert kept(name) is None


def test_a_cache_that_cannot_be_written_is_none(rules: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder would be")
    assert loaded(rules) == loaded(rules)


def test_the_oldest_are_forgotten(rules: Path, cache: Path) -> None:
    found = loaded(rules)
    for number in range(6):
        keep(str(number), found)
        os.utime(cache / str(number), (number, number))
    assert len(list(cache.iterdir())) <= 4


def test_rules_to_be_proved_are_read(rules: Path, cache: Path) -> None:
    assert not isinstance(load_rules(rules, proving=True), Refused)
    assert not cache.exists()

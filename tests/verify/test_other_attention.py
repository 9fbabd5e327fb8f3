"""Verification under the source's other attention: a source whose functions differ from each other is found out."""

import shutil
from pathlib import Path

import pytest

from porter.convert import convert
from porter.emit import emit
from porter.rewrite import Ported
from porter.shipped import shipped
from porter.source import load_source
from porter.verify.parity import verify
from tests.verify.conftest import write_checkpoint_code

SCORES = "key_states.transpose(2, 3)) * scaling\n"
SOFTMAX = "    attn_weights = nn.functional.softmax("
CHANGES = {
    "a soft cap": (SCORES, f"{SCORES}    attn_weights = torch.tanh(attn_weights)\n"),
    "another scale": (SCORES, SCORES.replace("* scaling", "* scaling * 0.5")),
    "a softmax off by one": (SOFTMAX, f"    attn_weights = nn.functional.pad(attn_weights, (0, 1))\n{SOFTMAX}"),
}


def code_of(folder: Path, change: tuple[str, str] | None) -> Path:
    write_checkpoint_code(folder)
    file = folder / "modeling_mine.py"
    text = file.read_text()
    if change is not None:
        assert change[0] in text
        text = text.replace(*change)
    if change is not None and "pad(" in change[1]:
        text = text.replace(
            "torch.matmul(attn_weights, value_states)", "torch.matmul(attn_weights[..., :-1], value_states)"
        )
    file.write_text(text)
    return folder


def trusting_rules(folder: Path) -> Path:
    """The shipped rules, but that attention asks nothing of the functions it takes the place of."""
    shutil.copytree(shipped("rules"), folder)
    file = folder / "attention.py"
    text = file.read_text()
    start = text.index("from rules.shared.eager_attention import (")
    end = text.index(")\n", start) + 2
    text = text[:start] + text[end:]
    imported = "import apply_rotary_pos_emb, eager_attention_forward\n"
    assert imported in text
    file.write_text(text.replace(imported, "import apply_rotary_pos_emb\n"))
    return folder


def ported(folder: Path, place: Path, rules: Path | None = None) -> Path:
    source = load_source(str(folder))
    found = convert(source, name=place.name, rules_directory=rules)  # type: ignore[arg-type]
    assert isinstance(found, Ported), found
    emit(found, place)
    return place


def failed(place: Path) -> set[str]:
    checks = verify(place, quick=True, trust_remote_code=True)
    assert isinstance(checks, tuple), checks
    return {check.name for check in checks if check.failed}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_port_that_takes_another_function_for_the_usual_one_fails(change, tmp_path):
    rules = trusting_rules(tmp_path / "rules")
    place = ported(code_of(tmp_path / "mine", change), tmp_path / "port", rules)
    found = failed(place)
    assert "other attention: left padding: logits" in found and "fp32 logits" not in found


@pytest.mark.parametrize("change", [None, CHANGES["a soft cap"]], ids=["as it is", "a soft cap"])
def test_a_port_by_the_shipped_rules_passes(change, tmp_path):
    place = ported(code_of(tmp_path / "mine", change), tmp_path / "port")
    assert "npu_fused_infer_attention_score" in (place / "modeling_mine.py").read_text() or change is not None
    assert not failed(place)

"""The review of a port: each application of its account once, in the terminal and on the page, with the right lines."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace

import pytest

from porter.report.review.data import review_data
from porter.report.review.page import of_page
from porter.report.review.recorded import Document, Subject, recorded
from porter.report.review.terminal import of_review
from tests.report.conftest import PORTS, ROOT, page_of, read_page, reviewed

every_port = pytest.mark.parametrize("folder", PORTS, ids=lambda folder: folder.name)


def _account(folder):
    return json.loads((folder / "port.json").read_text())


@every_port
def test_each_application_of_the_account_is_in_one_block(folder):
    review = reviewed(folder)
    changes = [(c["rule"], c["site"], *c["lines"]) for c in _account(folder)["changes"] if c["rule"] is not None]
    shown = [(a.rule, a.site, a.first, a.last) for block in review.blocks for a in block.applied]
    assert Counter(shown) == Counter(changes) and changes
    assert not review.unseen
    for block in review.by_rules:
        assert set(block.rules) == {applied.rule for applied in block.applied}
        for applied in block.applied:  # and its hunks hold the lines that it speaks of
            assert any((applied.rule, applied.site) in hunk.names for hunk in block.hunks)
            lines = range(applied.first, max(applied.last, applied.first - 1) + 1)
            there = {line.old for hunk in block.hunks for line in hunk.lines}
            assert there & {*lines, applied.first, applied.first - 1}


@every_port
def test_hunks_are_those_of_the_diff_and_their_lines_those_of_source_and_port(folder):
    review = reviewed(folder)
    account = _account(folder)
    assert hashlib.sha256(review.old.encode()).hexdigest() == account["source"]["sha256"]
    assert review.provenance.confirmed
    assert review.new == (folder / f"{account['module']}.py").read_text()
    old, new = review.old.split("\n"), review.new.split("\n")
    hunks = [hunk for block in review.blocks for hunk in block.hunks]
    assert len(hunks) == (folder / "port.diff").read_text().count("\n@@ ")
    for line in (line for hunk in hunks for line in hunk.lines):
        assert line.old is None or old[line.old - 1] == line.text.rstrip("\n")
        assert line.new is None or new[line.new - 1] == line.text.rstrip("\n")
        assert (line.old is None, line.new is None) == (line.mark == "+", line.mark == "-")


@every_port
@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_each_block_once_within_its_width(folder, width):
    review = reviewed(folder)
    text = of_review(review, width=width, coloured=False)
    lines = text.split("\n")
    assert max(map(len, lines)) <= width
    assert "\x1b" not in text
    for block in review.blocks:
        head = f"{block.number}/{len(review.blocks)}  {block.title} "
        assert sum(line.startswith(head) for line in lines) == 1
    joined = re.sub(r"\s+", "", text)
    for place in (place for block in review.by_rules for place in block.places):
        said = f"{review.provenance.file}:{place.line}{place.site}lines{place.lines}"
        assert re.sub(r"\s+", "", said) in joined
    for row in review.sites:
        assert all(re.sub(r"\s+", "", words) in joined for words in row.reason.split()), "cut"
    for reason in review.reasons.values():
        for words in (reason.why, reason.numerics, reason.contract, reason.proof):
            assert words and re.sub(r"\s+", "", words) in joined


@every_port
def test_the_page_shows_each_block_once_with_a_link_to_each_hunk(folder):
    review = reviewed(folder)
    page = read_page(page_of(folder))
    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    blocks = [block for block in page.all("article") if "hidden" not in block.attributes]
    assert [block.attributes["id"] for block in blocks] == [block.anchor for block in review.blocks]
    links = {link.attributes["href"] for link in page.all("a")}
    assert {link[1:] for link in links} <= set(ids), "a link that leads nowhere"
    for shown, block in zip(blocks, review.blocks, strict=True):
        hunks = shown.all("section", "hunk")
        assert [hunk.attributes["id"] for hunk in hunks] == [hunk.anchor for hunk in block.hunks]
        assert all("hidden" not in hunk.attributes for hunk in hunks), "hidden without JavaScript"
        assert {f"#{hunk.anchor}" for hunk in block.hunks} <= links
        words = shown.all("div", "reasons")[0].text
        for rule in block.rules:
            for said in (review.reasons[rule].why, review.reasons[rule].numerics, review.reasons[rule].contract):
                assert said.replace("`", "") in words
        for place in block.places:
            assert f"{place.rule} {place.site}, source lines {place.lines}" in words


@every_port
def test_the_two_sides_of_a_hunk_on_the_page_are_source_and_port(folder):
    review = reviewed(folder)
    page = read_page(page_of(folder))
    sections = {section.attributes["id"]: section for section in page.all("section", "hunk")}
    for hunk in (hunk for block in review.blocks for hunk in block.hunks):
        for side, mark in (("old", "+"), ("new", "-")):
            lines = [line for line in sections[hunk.anchor].all("div", side) if "line" in line.classes]
            shown = [(line.all("span", "at")[0].text, line.all("code")[0].text) for line in lines]
            wanted = [(str(getattr(each, side)), each.text.rstrip("\n")) for each in hunk.lines if each.mark != mark]
            assert shown == wanted


@every_port
def test_the_page_asks_for_nothing(folder):
    page = read_page(page_of(folder))
    for element in page.all():
        for name, value in element.attributes.items():
            if name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
                assert (value or "").startswith("#"), f"{element.tag} {name}={value}"
            assert not name.startswith("on"), "an event that the page's policy would not run"
    (style,), (script,) = page.all("style"), page.all("script")
    assert "url(" not in style.text and "@import" not in style.text
    assert not re.search(r"fetch|XMLHttp|import\(|WebSocket|https?:", script.text)
    (policy,) = [m.attributes["content"] for m in page.all("meta") if m.attributes.get("http-equiv")]
    assert policy and policy.startswith("default-src 'none'; ")
    for text in (style.text, script.text):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy


@every_port
def test_tables_and_drawing_say_what_they_are(folder):
    review = reviewed(folder)
    page = read_page(page_of(folder))
    assert all(head.attributes["scope"] in ("col", "row") for head in page.all("th"))
    sites = page.all("table")[0]
    assert [row.all("th")[0].text for row in sites.all("tbody")[0].all("tr")] == [row.site for row in review.sites]
    drawings = page.all("svg")
    assert [drawing.attributes["role"] for drawing in drawings] == ["img", "img"]
    for drawing in drawings:
        words = " ".join(words.text for words in drawing.all("text"))
        for row in review.layer.rows:
            assert row.site in "".join(words.split()) or row.site in words
        assert "npu_rms_norm" in words and "npu_fused_infer_attention_score" in "".join(words.split())


@pytest.mark.parametrize("folder", PORTS[:1], ids=lambda folder: folder.name)
def test_the_same_port_gives_the_same_page_and_data(folder):
    review = reviewed(folder)
    assert of_page(review) == page_of(folder)
    data = review_data(review)
    assert json.loads(json.dumps(data))["counts"]["ported"] == review.count("ported")
    assert [block["number"] for block in data["blocks"]] == [block.number for block in review.blocks]


def test_rules_that_share_lines_share_a_block_and_are_both_named():
    review = reviewed(ROOT / "generated_models" / "llama2")
    (block,) = [block for block in review.blocks if len(block.rules) > 1]
    assert block.rules == ("merge_qkv", "attention")
    assert ("merge_qkv", "LlamaAttention.forward") in block.hunks[1].names
    assert ("attention", "LlamaAttention.forward") in block.hunks[1].names
    assert [block.title for block in review.by_none] == [
        "header and imports, decorator",
        "unused, decorator",
        "unused, decorator",
        "base class",
    ]


def test_what_a_block_calls_of_the_runtime_is_told_in_its_words():
    import porter.runtime

    llama = reviewed(ROOT / "generated_models" / "llama2")
    calls = {block.title: dict(block.calls) for block in llama.blocks}
    assert set(calls["add_norm"]) == {"add_norm"} and set(calls["base class"]) == {
        "NpuPreTrainedModel",
        "PortedFrom",
        "RowMerge",
    }
    assert not calls["rotary_half"] and not calls["header and imports, decorator"]
    for name, words in (pair for block in llama.blocks for pair in block.calls):
        assert " ".join(getattr(porter.runtime, name).__doc__.split()).startswith(words) and words


# -- figures


LLAMA = ROOT / "generated_models" / "llama2"


def _subject(**other) -> Subject:
    subject = Subject("llama2", "llama2", "transformers.models.llama.modeling_llama", "1" * 64, ("code",), ("swiglu",))
    return replace(subject, **other)


def _row(**other):
    from porter.matrix.identity import text_named

    identity = {"text": text_named("1" * 64, "code")}
    row = {"model": "llama", "module": "transformers.models.llama.modeling_llama", "identity": identity}
    parity = {"outcome": "equal", "logits": 5e-7, "tokens": "8 equal", "ops": {}}
    kernels = {"prefill": {"source": 67, "port": 13}, "decode": {"source": None, "port": 13}}
    stopped = {"source decode": "aten.histc.default"}
    lowering = {"outcome": "converts", "kernels": kernels, "unconverted": stopped, "torch_npu": "2.13.0"}
    return {"format": 1, "rows": [{**row, "parity": parity, "lowering": lowering, **other}]}


def _outcomes(found):
    return {figure.claim: figure.outcome for figure in found.figures}


def test_figures_of_a_row_of_this_text():
    found = recorded(_subject(), [Document("m.json", _row())])
    assert _outcomes(found) == {
        "rules": "not recorded",
        "parity": "passed",
        "capture": "not recorded",
        "lowering": "passed",
        "graph": "not recorded",
        "device": "not run",
    }
    by_claim = {figure.claim: figure for figure in found.figures}
    assert "5.0e-07" in by_claim["parity"].said and "earlier state" in by_claim["parity"].source
    assert "prefill 67 -> 13; decode does not convert -> 13" in by_claim["lowering"].said
    assert found.phases[1].source.stopped == "aten.histc.default" and found.phases_in == "m.json"


@pytest.mark.parametrize(
    "other", [{"codes": ("another",)}, {"sha256": "2" * 64}, {"codes": ()}], ids=["port", "source", "edited"]
)
def test_figures_of_another_text_do_not_count(other):
    found = recorded(_subject(**other), [Document("m.json", _row())])
    assert "passed" not in _outcomes(found).values() and not found.phases
    assert found.note.startswith("m.json has a row of this model, made of another text")


def test_what_failed_is_said_to_have_failed():
    wrong = {"outcome": "different", "logits": 0.5, "tokens": "differ", "ops": {}}
    assert _outcomes(recorded(_subject(), [Document("m.json", _row(parity=wrong))]))["parity"] == "failed"
    checks = [{"name": "tokens", "outcome": "failed", "figure": 2.0, "limit": 1.0, "unit": "tokens differ"}]
    found = recorded(_subject(), [Document("v.json", {"folder": "x/llama2", "level": "parity", "checks": checks})])
    assert _outcomes(found)["parity"] == "failed"
    proof = {"name": "swiglu", "status": "failed", "figures": {"float32": {"after_ulp": 9.0}}}
    assert _outcomes(recorded(_subject(), [Document("p.json", {"proofs": [proof]})]))["rules"] == "failed"
    assert _outcomes(recorded(_subject(), [Document("p.json", {"proofs": []})]))["rules"] == "not recorded"


def test_the_row_of_the_checkout_is_of_the_port_in_it():
    from porter.report.review.build import subject_of
    from porter.report.review.opened import open_for_review

    matrix = Document("matrix.json", json.loads((ROOT / "tests" / "ports" / "matrix.json").read_text()))
    for folder in PORTS:
        found = recorded(subject_of(open_for_review(folder)), [matrix])
        if found.note:  # the row waits to be found again: then nothing of it counts
            assert "passed" not in _outcomes(found).values() and not found.phases
            continue
        assert _outcomes(found)["parity"] == _outcomes(found)["lowering"] == "passed"
        assert all(phase.port.count for phase in found.phases) and len(found.phases) == 2


def test_what_each_rule_contributes_stands_with_it():
    by_rule = json.loads((ROOT / "tests" / "lowering" / "llama_by_rule.json").read_text())
    found = recorded(_subject(), [Document("b.json", by_rule)])
    said = dict(found.without)
    assert said["swiglu"] == (
        "without it a layer has 16 kernels in prefill and 16 in decode, with it 13 and 13"
    )
    assert "(and without add_norm, add_norm_across)" in said["norm_rms_residual"]

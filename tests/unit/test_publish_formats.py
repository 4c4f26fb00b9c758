"""The forms of notifications: what a receiver gets, escaped for it and within its limits."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolloutplan.api.notifier import WORDS
from rolloutplan.api.spec import read_plan_spec
from rolloutplan.api.status import Decision, Evidence, Kind
from rolloutplan.engine.model.plan_view import PlanView, Readable, Unreadable
from rolloutplan.publish.formats import FORMATS
from rolloutplan.publish.notification import Notification
from tests.refusals import PLAN, changed

UID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
SPEC = changed(PLAN, {"owner": "team-checkout", "runbook": "https://wiki.example/checkout?a=b&c=d"})
VIEW = PlanView(
    namespace="shop",
    name="checkout-v2",
    uid=UID,
    generation=1,
    created=datetime(2026, 1, 1, tzinfo=UTC),
    content=Readable(read_plan_spec(SPEC)),
)
ERRORS = Evidence(predicate="errors", query="up", value="21%", bound="> 1%", samples="1500", verdict="Tripped")
TRIPPED = Decision(
    seq=17,
    at=datetime(2026, 11, 22, 1, 2, 3, 4567, tzinfo=UTC),
    kind=Kind.ROLLBACK,
    reason="RollbackStarted",
    state="GuardTripped",
    note="errors: 21% > 1% over 1500 samples; the old weights are written",
    run=3,
    stage="canary",
    weight_from="25%",
    weight_to="0%",
    evidence=(ERRORS,),
)
TOLD = Notification(VIEW, TRIPPED, undo="kubectl patch httproute checkout")
LIMITS = {"Json": 64 << 10, "CloudEvents": 64 << 10, "Slack": 40_000, "Teams": 28_000}
"""Bytes that a receiver takes."""


def body(form: str, told: Notification = TOLD) -> Any:
    content = FORMATS[form](told).content
    assert len(content) <= LIMITS[form]
    return json.loads(content)


def test_json_has_every_field_of_the_decision_and_what_helps() -> None:
    assert body("Json") == {
        "id": f"{UID}/17",
        "plan": {"namespace": "shop", "name": "checkout-v2", "uid": UID},
        "owner": "team-checkout",
        "runbook": "https://wiki.example/checkout?a=b&c=d",
        "undo": "kubectl patch httproute checkout",
        "severity": "Warning",
        "recorded": True,
        "text": "shop/checkout-v2 RollbackStarted: errors: 21% > 1% over 1500 samples; the old weights are written",
        "decision": TRIPPED.to_raw(),
    }


def test_a_cloud_event_has_the_same_as_data_and_an_id_that_repeats() -> None:
    assert FORMATS["CloudEvents"](TOLD).content_type == "application/cloudevents+json"
    assert body("CloudEvents") == {
        "specversion": "1.0",
        "id": f"{UID}/17",
        "source": "/apis/rolloutplan.dev/namespaces/shop/rolloutplans/checkout-v2",
        "type": "dev.rolloutplan.decision.rollback",
        "subject": "RollbackStarted",
        "time": "2026-11-22T01:02:03.004Z",
        "datacontenttype": "application/json",
        "data": body("Json"),
    }


def test_slack_gets_a_text_a_line_of_facts_and_a_link() -> None:
    (attachment,) = body("Slack")["attachments"]
    section, context = attachment["blocks"]
    assert attachment["color"] == "#d1242f"
    assert section["text"]["text"].endswith("errors: 21% &gt; 1% over 1500 samples; the old weights are written")
    facts, link = (each["text"] for each in context["elements"])
    assert facts == (
        "plan shop/checkout-v2 · run 3 · stage canary · weight 25% -&gt; 0% · owner team-checkout · by rolloutplan"
    )
    assert link == "<https://wiki.example/checkout?a=b&amp;c=d|runbook>"


def test_teams_gets_a_card() -> None:
    (attachment,) = body("Teams")["attachments"]
    card = attachment["content"]
    texts = ["".join(run["text"] for run in block["inlines"]) for block in card["body"]]
    assert texts == [
        "RollbackStarted",
        "shop/checkout-v2 RollbackStarted: errors: 21% > 1% over 1500 samples; the old weights are written",
        "Plan shop/checkout-v2",
        "Run 3",
        "Stage canary",
        "Weight 25% -> 0%",
        "Owner team-checkout",
        "By rolloutplan",
    ]
    assert card["actions"] == [
        {"type": "Action.OpenUrl", "title": "Runbook", "url": "https://wiki.example/checkout?a=b&c=d"}
    ]


def test_slack_reads_neither_links_nor_mentions_in_a_text() -> None:
    told = replace(TOLD, decision=TRIPPED.model_copy(update={"note": "<!channel> <https://a|b> & *x*"}))
    section, _ = body("Slack", told)["attachments"][0]["blocks"]
    assert section["text"]["text"].endswith("&lt;!channel&gt; &lt;https://a|b&gt; &amp; *x*")
    assert section["text"]["verbatim"]


def test_every_word_of_a_template_is_filled_in_and_nothing_else() -> None:
    told = replace(TOLD, template=" ".join(f"{word}=${{{word}}}" for word in WORDS) + " $5 $reasonable")
    assert set(told.words()) == set(WORDS)
    assert "reason=RollbackStarted" in told.text
    assert "weightTo=0%" in told.text
    assert told.text.endswith("$5 $reasonable")


def test_a_value_is_never_searched_for_words() -> None:
    told = replace(TOLD, template="$note", decision=TRIPPED.model_copy(update={"note": "$undo ${undo}"}))
    assert told.text == "$undo ${undo}"


def test_a_notice_has_a_key_of_its_own_because_its_number_is_that_of_a_decision() -> None:
    notice = TRIPPED.model_copy(update={"reason": "StatusNotWritten"})
    told = replace(TOLD, recorded=False, decision=notice)
    later = replace(told, decision=notice.model_copy(update={"at": notice.at + timedelta(minutes=10)}))
    assert told.key.startswith(f"{UID}/17/statusnotwritten/")
    assert told.key == body("Json", told)["id"] != later.key
    assert body("Json", told)["recorded"] is False


def test_a_plan_that_cannot_be_read_is_told_of_all_the_same() -> None:
    told = replace(TOLD, plan=replace(VIEW, content=Unreadable("a typo")))
    assert "owner" not in body("Json", told)
    for form in FORMATS:
        body(form, told)


def test_what_is_too_long_is_left_out_and_that_is_said() -> None:
    many = tuple(ERRORS.model_copy(update={"query": "x" * 4000, "predicate": f"p{i}"}) for i in range(20))
    found = body("Json", replace(TOLD, decision=TRIPPED.model_copy(update={"evidence": many})))
    assert found["shortened"]
    assert "evidence" not in found["decision"]
    assert found["decision"]["note"] == TRIPPED.note


TEXTS = st.text(max_size=40).map(lambda text: text * 200) | st.text(max_size=200)


@settings(max_examples=40, deadline=None)
@given(form=st.sampled_from(sorted(FORMATS)), note=TEXTS, by=TEXTS, stage=TEXTS, reason=TEXTS)
@pytest.mark.parametrize("template", [None, "$note $note $undo $by"])
def test_any_decision_is_json_within_the_limits_of_its_receiver(
    template: str | None, form: str, note: str, by: str, stage: str, reason: str
) -> None:
    texts = {"note": note, "by": by, "stage": stage, "reason": reason, "why": note, "observed": note, "believed": by}
    told = replace(TOLD, decision=TRIPPED.model_copy(update=texts), template=template, undo=note)
    found = body(form, told)
    if form == "Slack":
        blocks = found["attachments"][0]["blocks"]
        shown = [blocks[0]["text"], *blocks[1]["elements"]]
        assert all(0 < len(each["text"]) <= 3000 for each in shown)

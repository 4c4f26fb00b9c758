"""The API server refuses what the reader refuses, and nothing else, on specs that nobody has thought of.

One that is good here and bad there is a bug of the rules, of the reader, or of both. What both take, both read alike.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import ValidationError

from rolloutplan.api.bake import HOLDBACK_NEEDS_FULL, NO_TIME
from rolloutplan.api.parsing import SpecError, SpecModel, Violations, read
from rolloutplan.api.policy import ZONE
from rolloutplan.api.predicate import (
    AS_SCRAPED,
    HISTOGRAM_NAME,
    NOT_WITH_EVENTS,
    ONE_COMPARISON,
    ONE_SELECTOR,
    ONLY_WITH_EVENTS,
)
from rolloutplan.api.template import DUPLICATE_NAME, ONE_BODY
from tests.bed.api import Api, ApiError
from tests.bed.bed import Bed
from tests.contract.test_refusals import PATHS, manifest
from tests.generated import GENTLE, KINDS, ROUGH, Kind, Made, every_field, made

HOW_MANY = {"RolloutPlan": 800}
OTHERS = 150
AT_ONCE = 4
ALONE = "refused by the reader alone"


@dataclass(frozen=True)
class Outcome:
    """What came of a spec: how the reader read it, what the API server would store, and the words of who refused."""

    made: Made
    read: SpecModel | None
    stored: Any
    reader: str = ""
    server: str = ""


def outcomes(bed: Bed, kind: Kind, specs: Iterable[Made]) -> Iterator[Outcome]:
    mine = threading.local()

    def outcome(each: Made) -> Outcome:
        if not hasattr(mine, "api"):
            mine.api = bed.client("admin")
        stored, server = offered(mine.api, kind, each.spec)
        try:
            return Outcome(each, read(kind.model, each.spec), stored, server=server)
        except SpecError as error:
            return Outcome(each, None, stored, str(error), server)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(outcome, specs)


def offered(api: Api, kind: Kind, spec: Any) -> tuple[Any, str]:
    """What the API server would store of a spec, or why it refuses it."""
    path = f"{PATHS[kind.name]}?dryRun=All&fieldValidation=Strict"
    try:
        return api("POST", path, manifest(kind.name, spec, "generated"))["spec"], ""
    except ApiError as error:
        if error.status not in {400, 422}:
            raise
        return None, error.message


def difference(kind: Kind, found: Outcome) -> str:
    """What the two make of a spec otherwise; empty where they agree."""
    if found.read is None and found.server:
        return ""
    if found.read is None:
        return "" if only_read(kind, found.made.spec) else f"only the reader refuses it: {found.reader}"
    if found.server:
        return f"only the API server refuses it: {found.server}"
    try:
        same = read(kind.model, found.stored) == found.read
    except SpecError as error:
        return f"what is stored cannot be read: {error}"
    return "" if same else f"what is stored means something else: {json.dumps(found.stored)}"


# ---- what the reader alone can refuse ----------------------------------------------------------------------------

_USED = re.compile(
    "is not a predicate of this plan|itself uses another predicate|is already evaluated here"
    '|"[^"]+": an alert indicates failure'
)
_TEMPLATES = re.compile("^[0-9]+ templates are too many")
_BAKE = re.compile(f"at which bake.holdback|^{re.escape(HOLDBACK_NEEDS_FULL)}")
_OF_THE_BAKE = re.compile(f"{re.escape(NO_TIME)}|is too long: write at most")
"""CEL sees nothing in a field that is a text or a mapping."""
_SEEN_BY_BOTH = {ONE_BODY, ONE_COMPARISON, ONLY_WITH_EVENTS, DUPLICATE_NAME, *NOT_WITH_EVENTS.values()}
"""What is said of a template before it is filled in."""


def only_read(kind: Kind, spec: Any) -> bool:
    """Whether all that is wrong with a spec is what only the reader can tell, as the models say of themselves.

    Of a plan: what `use` names, and how many templates. Of a policy: which time zones there are. Of a template: its
    defaults, and what comes of its texts when they are filled in.
    """
    with pytest.raises(ValidationError) as refused:
        kind.model.model_validate(spec, by_alias=True, by_name=False)
    return all(
        _only_read(kind.name, each["loc"], each.get("ctx", {}).get("error"), each["input"])
        for each in refused.value.errors()
    )


def _only_read(kind: str, loc: tuple[int | str, ...], error: object, said: object) -> bool:
    if kind == "RolloutPolicy":
        return loc[-1:] == ("timeZone",) and isinstance(said, str) and ZONE.matches(said)
    if kind == "RolloutPlan" and loc[:1] == ("bake",) and error is not None:
        return all(_OF_THE_BAKE.search(why) for why in _words(error))
    if not isinstance(error, Violations):
        return False
    if loc[-1:] == ("events",) and isinstance(said, dict):  # rules of this length cost the API server too much
        closed = {name: "}" in str(said.get(name)).partition("{")[0] for name, _ in error.refusals}
        return all(
            why in (HISTOGRAM_NAME, ONE_SELECTOR) or (why == AS_SCRAPED and closed[name])
            for name, why in error.refusals
        )
    if loc:
        return False
    if kind == "RolloutPlan":
        return all(
            _USED.search(why) if where.endswith(".use") else _BAKE.search(why) or (not where and _TEMPLATES.search(why))
            for where, why in error.refusals
        )
    return kind == "PredicateTemplate" and all(why not in _SEEN_BY_BOTH for _, why in error.refusals)


def _words(error: object) -> list[str]:
    return [why for _, why in error.refusals] if isinstance(error, Violations) else [str(error)]


# ---- the promise ---------------------------------------------------------------------------------------------------


def compared(bed: Bed, kind: Kind, specs: Iterable[Made]) -> Counter[str]:
    """How many were good and refused, and how often each edit was made. Fails where the two differ on any."""
    counts, differences = Counter[str](), list[str]()
    for found in outcomes(bed, kind, specs):
        counts["good" if found.read else "refused" if found.server else ALONE] += 1
        counts.update(found.made.edits)
        if words := difference(kind, found):
            edits = ", ".join(found.made.edits)
            differences.append(f"number {found.made.number} ({edits}): {words}\n{json.dumps(found.made.spec)}")
    assert not differences, f"{len(differences)} differences:\n" + "\n".join(differences)
    return counts


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_of_a_spec_edited_at_random(bed: Bed, kind: Kind) -> None:
    number = HOW_MANY.get(kind.name, OTHERS)
    counts = compared(bed, kind, (made(kind, i) for i in range(number)))
    print(f"{kind.name}: {counts['good']} good, {counts['refused']} refused, {counts[ALONE]} by the reader alone")
    assert min(counts["good"], counts["refused"]) >= number / 4, counts
    assert kind.name != "RolloutPlan" or {*GENTLE, *ROUGH} <= counts.keys(), "an edit was never made"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_of_a_spec_with_one_field_wrong(bed: Bed, kind: Kind) -> None:
    counts = compared(bed, kind, every_field(kind))
    print(f"{kind.name}: {counts['good']} good, {counts['refused']} refused")
    assert min(counts["good"], counts["refused"]) > 0

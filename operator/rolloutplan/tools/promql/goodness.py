"""Whether series count what is good or what is bad, by their labels and by the words of their names. Pure.

Only common labels and words are known. What is not known, or says both, has no answer: a wrong one would accuse a
right plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from rolloutplan.tools.promql.nodes import Matcher, Selector
from rolloutplan.tools.promql.regex import fits

CODES: Final = frozenset(
    {"code", "status", "status_code", "statuscode", "http_code", "response_code", "http_status", "http_status_code"}
    | {"http_response_status_code", "envoy_response_code", "envoy_response_code_class", "response_code_class"}
    | {"code_class", "status_class", "rpc_code", "return_code"}
)
"""Labels with status codes."""
_FAILED_CODES: Final = ("500", "502", "503", "504", "5xx", "5XX", "5")
_REFUSED_CODES: Final = ("400", "404", "429", "4xx", "4XX")
_FINE_CODES: Final = ("200", "201", "204", "2xx", "2XX", "2")
_GRPC: Final = frozenset({"grpc_code", "grpc_status", "grpc_type", "grpc_response_status"})
_FAILED_GRPC: Final = ("Unavailable", "UNAVAILABLE", "Internal", "INTERNAL", "Unknown", "13", "14")
_FINE_GRPC: Final = ("OK", "Ok", "0")
_OUTCOMES: Final = frozenset(
    {"outcome", "result", "classification", "state", "response", "success", "status", "error", "exception", "phase"}
    | {"condition", "reason", "failed", "ok", "outcome_type", "disposition", "error_type"}
)
_BAD_VALUE: Final = re.compile(
    "err|fail|timeout|timed_?out|exception|reject|unavail|crash|oom|backoff|lost|drop|panic|abort|invalid",
    re.IGNORECASE,
)
_GOOD_VALUE: Final = re.compile("success|succeed|^ok$|^hit$|^good$|deliver|complete|^running$|^healthy$", re.IGNORECASE)

_BAD_WORDS: Final = frozenset(
    {"error", "errors", "err", "errs", "failure", "failures", "failed", "fail", "fails", "exception", "exceptions"}
    | {"panic", "panics", "crash", "crashes", "timeout", "timeouts", "dropped", "drops", "rejected", "rejections"}
    | {"restarts", "oom", "ooms", "oomkilled", "mismatch", "mismatches", "miss", "misses", "missed", "lost", "invalid"}
    | {"throttled", "aborted", "aborts", "violations", "discarded", "unavailable", "bad", "5xx", "faults", "deadlocks"}
    | {"lag", "backlog", "late", "deadletter", "overflow", "overflows", "slow", "unhealthy"}
)
_GOOD_WORDS: Final = frozenset(
    {"success", "successes", "successful", "succeeded", "hit", "hits", "good", "ok", "available", "availability"}
    | {"healthy", "ready", "up", "delivered", "completed", "uptime", "free", "remaining", "apdex", "2xx"}
)
_OVERRULES: Final = frozenset({"remaining", "budget"})
"""Words that make bad ones good: an error budget that remains."""


def goodness(selectors: Iterable[Selector]) -> bool | None:
    """True if more of these is better, False if more is worse; None where it is not known, or they differ."""
    found = {goodness_of(each) for each in selectors}
    return found.pop() if len(found) == 1 else None


def goodness_of(selector: Selector) -> bool | None:
    """True if more of these series is better, False if more is worse; None where it is not known."""
    told = [each for each in map(_told_by, selector.matchers) if each is not None]
    if told:
        return told[0] if len(set(told)) == 1 else None
    return goodness_of_name(selector.metric)


def goodness_of_name(name: str) -> bool | None:
    """The same for the name of a metric alone."""
    words = set(re.split("[_:.]+", name.lower()))
    if words & _OVERRULES:
        return True
    good, bad = bool(words & _GOOD_WORDS), bool(words & _BAD_WORDS)
    return good if good != bad else None


def _told_by(matcher: Matcher) -> bool | None:
    label = matcher.label.lower()
    if label in CODES and (told := _told_by_samples(matcher, _FAILED_CODES, _FINE_CODES, _REFUSED_CODES)) is not None:
        return told
    if label in _GRPC:
        return _told_by_samples(matcher, _FAILED_GRPC, _FINE_GRPC, ())
    if label in _OUTCOMES:
        return _told_by_words(label, matcher)
    return None


def _told_by_samples(
    matcher: Matcher, failed: tuple[str, ...], fine: tuple[str, ...], refused: tuple[str, ...]
) -> bool | None:
    """What a matcher says by the usual values that it names."""
    named_failed, named_fine, named_refused = (
        any(_is_named(matcher, each) for each in samples) for samples in (failed, fine, refused)
    )
    takes = matcher.op in ("=", "=~")
    if named_failed != named_fine:
        return named_fine == takes
    # All but 404 says nothing: failures and successes are both left in.
    return False if named_refused and not named_fine and takes else None


def _is_named(matcher: Matcher, sample: str) -> bool:
    """Whether the text of a matcher, positive or negative, fits a value."""
    return sample == matcher.value if matcher.op in ("=", "!=") else fits(matcher.value, sample)


def _told_by_words(label: str, matcher: Matcher) -> bool | None:
    value, takes = matcher.value, matcher.op in ("=", "=~")
    if value.lower() in ("true", "false", "1", "0", "yes", "no", "none", ""):
        true = value.lower() in ("true", "1", "yes")
        if label in ("success", "ok", "condition"):
            return true == takes
        if label in ("error", "exception", "failed", "error_type"):
            return true != takes
        return None
    if label in ("exception", "error", "error_type"):
        return False if takes else None
    good, bad = _GOOD_VALUE.search(value) is not None, _BAD_VALUE.search(value) is not None
    return (good == takes) if good != bad else None

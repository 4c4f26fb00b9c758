"""The words of an object, by which one that gives a Service nothing is left unread."""

from typing import Any

import pytest

from rolloutplan.traffic.mentions import words, words_of


def route(**annotations: str) -> dict[str, Any]:
    meta = {"name": "main", "namespace": "shop", "annotations": annotations, "managedFields": [{"manager": "kubectl"}]}
    return {"metadata": meta, "spec": {"rules": [{"host": "web.pay.svc.cluster.local", "port": 80}]}}


@pytest.mark.parametrize(
    ("service", "has"),
    [
        (("pay", "web"), True),
        (("shop", "main"), True),
        (("pay", "web-v2"), False),
        (("other", "web"), False),
        (("shop", "web/pay"), True),
    ],
)
def test_an_object_has_the_words_of_a_service_or_not(service: tuple[str, str], has: bool) -> None:
    assert (words_of(*service) <= words(route())) is has


def test_words_in_the_json_of_an_annotation_count_however_they_are_written() -> None:
    assert {"canary", "stable"} <= words(route(weights=r'{"\u0063anary": 5, "stable": 95}'))


def test_who_wrote_an_object_and_what_was_applied_before_do_not_count() -> None:
    applied = {"kubectl.kubernetes.io/last-applied-configuration": '{"host": "gone"}'}
    assert not {"kubectl", "gone"} & words(route(**applied))

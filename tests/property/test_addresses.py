"""Addresses of metric sources: what is taken can be used as it is written, and leads to the host that was checked."""

import ipaddress
import re
from urllib.parse import urlsplit

import requests
from hypothesis import example, given
from hypothesis import strategies as st

from rolloutplan.api.text_format import HEADER, HEADER_VALUE, URL
from rolloutplan.metrics.access import Place, SourceHosts, normal_host

TEXTS = st.one_of(
    st.from_regex(URL.pattern, fullmatch=True),
    st.text().map("http://{}".format),
    st.text(alphabet="0123456789abcdefx.:[]%@/\\?#-_ ", max_size=40).map("https://{}".format),
)


def taken(text: str) -> bool:
    try:
        URL.read(text)
    except ValueError:
        return False
    return True


@given(TEXTS)
@example("http://[")
@example("http://a@b")
@example("http://127.1")
@example("http://[::1%25lo]")
@example("http://a\\@b")
def test_an_address_that_is_taken_can_be_used_and_leads_to_its_host(text: str) -> None:
    if not taken(text):
        return
    place = Place.of_url(text)
    sent = requests.Request("POST", f"{text.rstrip('/')}/api/v1/query", data={"query": "up"}).prepare().url or ""
    assert place.host
    assert Place.of_url(sent) == place, "what is checked is what is asked"
    assert urlsplit(sent).path.endswith("/api/v1/query")
    assert SourceHosts.read([str(place)]).allow(place)
    assert not SourceHosts().allow(place)


@given(st.one_of(st.ip_addresses(v=6).map(str), st.text(alphabet="0123456789abcdefABCDEF:", max_size=42)))
@example("::")
@example("1:2:3:4:5:6:7::")
@example("::2:3:4:5:6:7:8")
@example("1::2:3:4:5:6:7:8")
def test_the_pattern_takes_the_addresses_of_ipv6_and_no_others(text: str) -> None:
    try:
        known = str(ipaddress.IPv6Address(text))
    except ValueError:
        assert not taken(f"http://[{text}]")
    else:
        assert taken(f"http://[{text}]")
        assert normal_host(f"[{text}]") == known


@given(st.one_of(st.ip_addresses(v=4).map(str), st.from_regex(r"\A[0-9xa-f]{1,12}(\.[0-9xa-f]{1,4}){0,4}\Z")))
@example("127.1")
@example("0177.0.0.1")
def test_no_other_spelling_of_an_ipv4_address_is_taken(text: str) -> None:
    """The last part of a name is no number, so that no resolver reads the name as one."""
    if not taken(f"http://{text}"):
        return
    last = text.rpartition(".")[2]
    assert re.fullmatch(r"[0-9]+|0[xX][0-9a-fA-F]*", last) is None or str(ipaddress.IPv4Address(text)) == text


@given(st.text(max_size=40), st.text(max_size=40))
@example("Authorization", "x")
@example("X-A", "a\r\nHost: b")
def test_a_header_that_is_taken_is_sent_as_it_is_and_names_nobody(name: str, value: str) -> None:
    try:
        HEADER.read(name)
        HEADER_VALUE.read(value)
    except ValueError:
        return
    assert name.lower().startswith("x-")
    assert not name.lower().startswith(("x-forwarded", "x-real-", "x-remote", "x-original"))
    prepared = requests.Request("POST", "http://a", headers={name: value}).prepare()
    assert prepared.headers[name] == value

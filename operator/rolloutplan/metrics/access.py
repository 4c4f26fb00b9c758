"""Where metric sources may point, and where their credentials are: what whoever runs the operator says of it.

It comes from the command line of the operator. `objects.py` refuses sources by it, `prometheus/` connects by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from rolloutplan.api.text_format import SOURCE_HOST

CREDENTIALS: Final = Path("/etc/rolloutplan/credentials")
"""Where the chart mounts credential files."""
_PORTS: Final = {"http": 80, "https": 443}


class Told(NamedTuple):
    """How messages call what has an address."""

    kind: str
    """The kind of object that may have credentials."""
    field: str
    """The field of its spec with the address."""
    option: str
    """What the operator is told of hosts."""


SOURCE_TOLD: Final = Told("ClusterMetricSource", "prometheus.url", "--source-hosts (sourceHosts of the chart)")
NOTIFIER_TOLD: Final = Told("ClusterNotifier", "webhook.url", "--notifier-hosts (notifiers.hosts of the chart)")


class Place(NamedTuple):
    """A host, in one of its spellings, and a port; None where any is meant."""

    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @classmethod
    def of_url(cls, url: str) -> Self:
        """Where a URL points, with the port of its scheme where it has none. Raises ValueError."""
        parts = urlsplit(url)
        return cls(normal_host(parts.hostname or ""), parts.port or _PORTS[parts.scheme])


class SourceHosts(NamedTuple):
    """The hosts that a namespaced MetricSource, or Notifier, may point to."""

    places: frozenset[Place] = frozenset()
    suffixes: frozenset[Place] = frozenset()
    """Each allows what ends with its host, which begins with a dot."""

    @classmethod
    def read(cls, texts: Iterable[str]) -> Self:
        """Read hosts, as `prometheus.monitoring:9090` or `*.monitoring.svc`. Raises ValueError."""
        places, suffixes = set(), set()
        for text in texts:
            wildcard, name = text.startswith("*."), SOURCE_HOST.read(text).removeprefix("*.")
            place = Place.of_url(f"http://{name}")
            if not urlsplit(f"http://{name}").port:
                place = place._replace(port=None)
            if wildcard:
                suffixes.add(place._replace(host=f".{place.host}"))
            else:
                places.add(place)
        return cls(frozenset(places), frozenset(suffixes))

    def allow(self, place: Place) -> bool:
        """Whether a namespaced source may point there."""
        ends = (each for each in self.suffixes if each.port in (None, place.port))
        return self.name(place) or any(place.host.endswith(each.host) for each in ends)

    def name(self, place: Place) -> bool:
        """Whether this very host is named, and not by the end of its name."""
        return bool({place, place._replace(port=None)} & self.places)


NO_HOSTS: Final = SourceHosts()


class Access(NamedTuple):
    """The access of an operator's sources to the network and to credentials."""

    hosts: SourceHosts = NO_HOSTS
    api_server: tuple[str, ...] = ()
    """The hosts of the API server, which no source may point to."""
    credentials: Path = CREDENTIALS


NOWHERE: Final = Access()
"""No namespaced source may point anywhere."""


def normal_host(host: str) -> str:
    """A host in one spelling of many: lower case, without a dot at its end; addresses in their canonical form."""
    plain = host.strip("[]").rstrip(".").lower()
    try:
        return str(ip_address(plain))
    except ValueError:
        return plain

"""Says to which addresses a source may be connected. `exchange.py` asks for each address that a name leads to.

Between a check of a name and a connection to it, its owner could give it another address. So what is checked is the
address, and the connection goes to this very one.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias

from rolloutplan.metrics.access import SOURCE_TOLD, Access, Place, Told

Address: TypeAlias = IPv4Address | IPv6Address

_API_SERVER_NAME: Final = re.compile(r"kubernetes(\.default(\.svc(\..+)?)?)?")
_METADATA: Final = frozenset(
    map(ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
"""Metadata services of clouds that are not link-local: Alibaba, Azure, Oracle; AWS and Google by IPv6."""
_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")
"""Linux connects to itself for 0.0.0.0."""
_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = IPv6Network("::/96")


class AddressError(OSError):
    """An address that no source may point to; the message has the fix."""


class Guard:
    """Checks each address of the host of one source, before a connection to it. Any thread may use it."""

    def __init__(self, access: Access, place: Place, told: Told = SOURCE_TOLD) -> None:
        self._told = told
        self._named = access.hosts.name(place)
        self._place = place
        self._api_server = access.api_server

    def check(self, address: str) -> None:
        """Raises AddressError where the source may not be reached at this address."""
        found, host = ip_address(address), self._place.host
        kind = self._kind(found)
        if not kind or (self._named and _is_literal(host, found)):
            return
        fix = f"point {self._told.field} elsewhere, or have the operator's {self._told.option} name"
        if host == str(found):
            raise AddressError(f"{host} is {kind}: {fix} {self._place}")
        raise AddressError(f"{host} leads to {kind}: {fix} the address, and write the address in {self._told.field}")

    def _kind(self, address: Address) -> str:
        """What the address is, where sources may not point to it; else empty."""
        seen = (address, *_embedded(address))
        if _API_SERVER_NAME.fullmatch(self._place.host) or not set(seen).isdisjoint(self._api_addresses()):
            return "the API server"
        return next(filter(None, map(_kind, seen)), "") or ("the operator itself" if _is_own(address) else "")

    def _api_addresses(self) -> frozenset[Address]:
        """Asked each time: a name may get another address, and in a cluster it is an address already."""
        found: set[Address] = set()
        for host in self._api_server:
            try:
                found.update(ip_address(each[4][0]) for each in socket.getaddrinfo(host, None))
            except (OSError, UnicodeError):
                continue
        return frozenset(found)


def _is_literal(host: str, address: Address) -> bool:
    """Whether the host is this very address, or the usual name of a loopback address."""
    return host == str(address) or (host == "localhost" and address.is_loopback)


def _kind(address: Address) -> str:
    if address.is_unspecified or (address.version == 4 and address in _THIS_NETWORK):
        return "an unspecified address"
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local or address in _METADATA or (address.version == 6 and address.is_site_local):
        return "a link-local or metadata address"
    if address.is_multicast or (address.version == 4 and address.is_reserved):
        return "a multicast or reserved address"
    return ""


def _embedded(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that an IPv6 address stands for: mapped, compatible, 6to4, Teredo, NAT64."""
    if isinstance(address, IPv4Address):
        return ()
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in net for net in (*_NAT64, _COMPATIBLE)) and int(address) > 1:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return tuple(each for each in found if each is not None)


def _is_own(address: Address) -> bool:
    """Whether it is an address of this machine: then the system would connect from it to itself. Sends nothing."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:
            return False
        return ip_address(probe.getsockname()[0].partition("%")[0]) == address

"""Says in words why a source was not reached: never in words that the source chose. `http.py` passes the exception."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import urllib3

from rolloutplan.metrics.access import SOURCE_TOLD, Told
from rolloutplan.metrics.prometheus.address import AddressError
from rolloutplan.metrics.prometheus.credentials import CredentialError

_RENEW: Final = "renew it on the server"
_TRUST: Final = "name a file with its CA in auth.caBundle of the {kind}"
_CERTIFICATE: Final = {
    9: "is not valid yet: set the clocks right (NTP), or wait",
    10: f"has expired: {_RENEW}",
    18: f"is signed by itself and not trusted: {_TRUST}",
    19: f"is signed by a CA that is not trusted: {_TRUST}",
    20: f"is signed by a CA that is not trusted: {_TRUST}",
    21: f"is signed by a CA that is not trusted: {_TRUST}",
    62: "is not for this host: write a host that it is for in {field}, or have one made for this one",
    64: "is not for this address: write a host that it is for in {field}, or have one made for this address",
}
"""What OpenSSL finds wrong with a certificate, by its code."""
_NO_BRACES: Final = {ord("{"): "(", ord("}"): ")"}
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})


def words_of(error: BaseException, host: str, told: Told = SOURCE_TOLD) -> str:
    """Why a request to a host failed. The first cause is told, as `Connection refused`."""
    causes = list(_causes(error))
    for each in causes:
        if isinstance(each, CredentialError | AddressError):
            return str(each)
        if isinstance(each, ssl.SSLCertVerificationError):
            fault = _CERTIFICATE.get(
                each.verify_code, f"cannot be verified: {str(each.verify_message).translate(_NO_BRACES)}"
            )
            return f"the certificate of {host} {fault.format(kind=told.kind, field=told.field)}"
        if isinstance(each, ssl.SSLError):
            return _tls(each, told)
    match causes[-1]:
        case socket.gaierror() | UnicodeError():
            return f"the name {host} cannot be resolved: check {told.field}"
        case http.client.RemoteDisconnected() as found:
            return str(found)
        case OSError(strerror=str(words)) if words:
            return words
        case http.client.HTTPException() | urllib3.exceptions.HTTPError():
            return "the answer is not HTTP that can be read"
        case other:
            return f"the request failed ({type(other).__name__})"


def _tls(error: ssl.SSLError, told: Told) -> str:
    reason = error.reason or ""
    if reason in _NO_TLS:
        return f"the server does not speak TLS at this port: correct {told.field}"
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason or "HANDSHAKE" in reason):
        return f"the server refuses the client certificate, or wants one ({reason}): check auth.mtls"
    return f"TLS failed ({reason or 'no reason is known'})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, its cause, the cause of that, ..."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__

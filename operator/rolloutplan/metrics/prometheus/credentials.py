"""The credentials of a source: files that the chart mounts, read again whenever they may have changed.

`http.py` asks for the headers and the TLS context of each request. What is in a file is in no message.
"""

from __future__ import annotations

import base64
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from rolloutplan.api.auth import Auth, MutualTls
from rolloutplan.metrics.prometheus.exchange import new_trust, trust

MAX_SECRET: Final = 64 << 10
"""Bytes of a token, a password, a certificate or a key; the longest tokens in use have a few KiB."""
MAX_BUNDLE: Final = 1 << 20
"""Bytes of a CA bundle: no Secret and no ConfigMap holds more. All public CAs need a quarter of it."""
_VISIBLE: Final = re.compile(rb"[!-~]+")
_Stamp: TypeAlias = tuple[tuple[int, ...], ...]


class CredentialError(Exception):
    """A credential file that cannot be used; the message names it, and the fix."""


class Credentials:
    """What a source is shown, from files below a directory. Any thread may use it, one at a time."""

    def __init__(self, auth: Auth | None, directory: Path) -> None:
        self._auth = auth or Auth.model_construct()
        self._directory = directory
        self._context: tuple[_Stamp, ssl.SSLContext] | None = None

    def headers(self) -> Mapping[str, str]:
        """The header with the credentials of a request; none where there are none. Raises CredentialError."""
        if name := self._auth.bearer:
            token = self._read(name, MAX_SECRET).strip()
            if not _VISIBLE.fullmatch(token):
                raise CredentialError(f"credential file {name}: not a bearer token: write one word of ASCII in it")
            return {"Authorization": f"Bearer {token.decode()}"}
        if basic := self._auth.basic:
            password = self._read(basic.password, MAX_SECRET).rstrip(b"\r\n")
            return {"Authorization": f"Basic {base64.b64encode(basic.username.encode() + b':' + password).decode()}"}
        return {}

    def context(self) -> ssl.SSLContext:
        """How to speak TLS: the same object as long as the files are the same. Raises CredentialError."""
        stamp = self._stamp()
        if self._context is None or self._context[0] != stamp:
            self._context = stamp, self._new_context()
        return self._context[1]

    def _new_context(self) -> ssl.SSLContext:
        bundle, installed = self._auth.ca_bundle, os.environ.get("SSL_CERT_FILE", "")
        if bundle is None:
            try:
                context = trust(installed) if self._auth.mtls is None else new_trust(installed)
            except OSError:
                raise CredentialError(f"{installed}: no CAs can be read from it: correct SSL_CERT_FILE") from None
        else:
            try:
                context = ssl.create_default_context(cadata=self._read(bundle, MAX_BUNDLE).decode("ascii"))
            except (ssl.SSLError, ValueError):
                words = "holds no certificates that can be read: write those of the CAs in it, as PEM"
                raise CredentialError(f"credential file {bundle}: {words}") from None
        if self._auth.mtls is not None:
            self._load(context, self._auth.mtls)
        return context

    def _load(self, context: ssl.SSLContext, mtls: MutualTls) -> None:
        for name in (mtls.cert, mtls.key):
            self._read(name, MAX_SECRET)
        try:
            # With a password of no characters, an encrypted key is an error and no question on a terminal.
            context.load_cert_chain(self._directory / mtls.cert, self._directory / mtls.key, password="")
        except (ssl.SSLError, OSError, ValueError):
            words = "write a certificate and its key, not encrypted, as PEM in them"
            raise CredentialError(f"credential files {mtls.cert} and {mtls.key}: do not fit: {words}") from None

    def _stamp(self) -> _Stamp:
        mtls = self._auth.mtls
        names = filter(None, (self._auth.ca_bundle, *((mtls.cert, mtls.key) if mtls else ())))
        return tuple(map(self._stat, names))

    def _stat(self, name: str) -> tuple[int, ...]:
        try:
            found = (self._directory / name).stat()
        except OSError as error:
            raise self._missing(name, error) from None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size

    def _read(self, name: str, most: int) -> bytes:
        try:
            with (self._directory / name).open("rb") as file:
                content = file.read(most + 1)
        except OSError as error:
            raise self._missing(name, error) from None
        if len(content) > most:
            raise CredentialError(f"credential file {name}: longer than {most:,} bytes: write less in it")
        if not content.strip():
            raise CredentialError(f"credential file {name}: empty: write the credential in it")
        return content

    def _missing(self, name: str, error: OSError) -> CredentialError:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            fix = "add it to the chart's value credentials, and check the Secret that it names"
            return CredentialError(f"credential file {name}: not in {self._directory}: {fix}")
        return CredentialError(f"credential file {name}: cannot be read: {error.strerror}")

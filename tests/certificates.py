"""Private certificate authorities for tests, made by openssl."""

import subprocess
from pathlib import Path

_CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = {name}
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """A CA with its files in a folder: `ca` is its certificate, as PEM."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self.ca = folder / "ca.pem"
        self._request("ca", "DNS:none", "-x509", "-days", "2", "-extensions", "ca", "-out", "ca.pem")

    def issue(self, name: str, *names: str, expired: bool = False) -> tuple[Path, Path]:
        """A certificate for names, as `DNS:localhost` or `IP:127.0.0.1`, and its key."""
        self._request(name, ", ".join(names) or "DNS:none", "-new", "-out", f"{name}.csr")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "-1" if expired else "2")
        extensions = ("-extfile", f"{name}.conf", "-extensions", "leaf")
        self._openssl("x509", "-req", "-in", f"{name}.csr", *signed, *extensions, "-out", f"{name}.pem")
        return self._folder / f"{name}.pem", self._folder / f"{name}.key"

    def _request(self, name: str, names: str, *arguments: str) -> None:
        (self._folder / f"{name}.conf").write_text(_CONFIG.format(name=name, names=names))
        self._openssl("req", "-config", f"{name}.conf", *_KEY, "-keyout", f"{name}.key", *arguments)

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)

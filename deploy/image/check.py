"""`make image-check`: run the steps of the Containerfile without a container engine, and start what comes of them.

Each RUN is a command in a root of its own, which debootstrap made from Debian's packages in place of BASE. The last
stage is then a read-only root for the user of the image, and the operator in it moves a rollout on the bed. A table
says what was seen; the exit code is 0 if all of it is as it must be. It needs root, Linux with namespaces, debootstrap
and git.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bed import Bed, until
from tests.shop import PLANS, Operator, Shop, install

ROOT = Path(__file__).resolve().parents[2]
CONTAINERFILE = ROOT / "Containerfile"
CACHE = Path.home() / ".cache" / "rolloutplan-image"
RELEASE, PACKAGES = "bookworm", "python3-venv,ca-certificates"
LIMIT = 150
"""Megabytes of files."""
LOCKS = (ROOT / "requirements.lock", ROOT / "deploy" / "image" / "build.lock")
UV = (Path(sysconfig.get_path("scripts")) / "uv",)
PYTHONS = ("3.11", "3.13")
PROGRAMS = {
    "apt-get": "apt",
    "debootstrap": "debootstrap",
    "unshare": "util-linux",
    "chroot": "coreutils",
    "git": "git",
}
"""The programs of the system that the check runs, with the Debian package of each."""
ENDED = {"Succeeded", "RolledBack", "Invalid", "Stalled"}
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass
class Stage:
    """What the steps of a Containerfile have made of a root."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)


def steps(text: str) -> Iterator[tuple[str, str]]:
    """Return the instructions of a Containerfile with their arguments; lines that end in a backslash go on."""
    for line in text.replace("\\\n", "").splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            yield word, rest.strip()


def build(sources: Path, base: Path, into: Path, epoch: str) -> Stage:
    """Carry the steps out; return the last stage."""
    into.mkdir()
    stages: dict[str, Stage] = {}
    for word, rest in steps((sources / "Containerfile").read_text()):
        words = shlex.split(rest)
        if word == "FROM":
            stages[words[-1]] = stage = Stage(into / str(len(stages)))
            if words[0] == "scratch":
                stage.root.mkdir()
            else:
                subprocess.run(["cp", "-a", base, stage.root], check=True)  # devices as devices
        elif word == "COPY":
            _copy(words, sources, stages, stage)
        elif word == "RUN":
            _run(stage, rest, epoch)
        elif word != "ARG":
            _set(stage, word, rest)
    return stage


def _set(stage: Stage, word: str, rest: str) -> None:
    if word == "ENV":
        stage.env |= dict(pair.split("=", 1) for pair in shlex.split(rest))
    elif word == "WORKDIR":
        stage.workdir = rest
        (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
    elif word == "USER":
        stage.user = rest
    elif word in {"ENTRYPOINT", "CMD"}:
        stage.entrypoint += json.loads(rest)
    else:
        sys.exit(f"Containerfile: this check does not know {word} {rest}")


def _copy(words: list[str], sources: Path, stages: dict[str, Stage], stage: Stage) -> None:
    *files, target = words
    if files[0].startswith("--from="):
        sources = stages[files.pop(0).removeprefix("--from=")].root
    place = stage.root / os.path.normpath(f"{stage.workdir}/{target}").lstrip("/")
    for source in (sources / file.lstrip("/") for file in files):
        if source.is_dir():
            shutil.copytree(source, place, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy2(source, place / source.name if target.endswith("/") else place)


def _run(stage: Stage, command: str, epoch: str) -> None:
    """Run a command in the root, with this machine's way to its package index."""
    index = {
        key: value
        for key, value in os.environ.items()
        if re.match(r"(PIP|UV)_.*(INDEX|TIMEOUT|DISABLE)|https?_proxy|no_proxy", key, re.IGNORECASE)
    }
    ca = "/run/ca-certificates.crt"
    trust = dict.fromkeys(("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"), ca)
    for file in ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf"):
        (stage.root / file.lstrip("/")).touch()
    (stage.root / ca.lstrip("/")).touch()
    script = f"""set -e
        mount --bind /etc/ssl/certs/ca-certificates.crt {stage.root}{ca}
        mount --bind /etc/resolv.conf {stage.root}/etc/resolv.conf
        mount --bind /etc/hosts {stage.root}/etc/hosts
        if [ -e /etc/pip.conf ]; then mount --bind /etc/pip.conf {stage.root}/etc/pip.conf; fi
        mount -t proc proc {stage.root}/proc
        mount --bind /dev {stage.root}/dev
        exec chroot {stage.root} /bin/sh -c {shlex.quote(f"umask 022; cd {stage.workdir}; {command}")}"""
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    env |= {"SOURCE_DATE_EPOCH": epoch, **index, **trust, **stage.env}
    inside = ["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", script]
    if subprocess.run(inside, env=env, check=False).returncode:
        sys.exit(f"Containerfile: the step failed: RUN {command}")


def digest(root: Path) -> str:
    """Return the SHA-256 of a tree: names, kinds, modes, owners, times and bytes."""
    whole = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        stat = path.lstat()
        facts = f"{path.relative_to(root)} {stat.st_mode:o} {stat.st_uid}:{stat.st_gid} {stat.st_mtime}\n"
        whole.update(facts.encode())
        if path.is_symlink():
            whole.update(str(path.readlink()).encode())
        elif path.is_file():
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def megabytes(root: Path) -> float:
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def base() -> Path:
    """Return Debian's smallest system with Python: made once, from the mirror that apt uses here."""
    made = CACHE / RELEASE
    if not made.exists():
        command = ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"]
        sites = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        mirror = next((line.split()[0] for line in sites if line.endswith(f" {RELEASE}")), "")
        if not mirror:
            sys.exit(
                f"make image-check needs a mirror of Debian {RELEASE} among the sources of apt: add one, apt-get update"
            )
        CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=CACHE))
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(unfinished), mirror]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        unfinished.chmod(0o755)
        unfinished.rename(made)
    return made


def without_wheel(machine: str, python: str) -> str:
    """Return what the index says of packages that have no wheel for a machine with glibc; "" if each has one."""
    wanted = [f"--python-platform={machine}-manylinux_2_28", f"--python-version={python}", "--only-binary=:all:"]
    for lock in LOCKS:
        done = subprocess.run(
            [*UV, "pip", "compile", "--quiet", *wanted, lock], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return " ".join(done.stderr.split())
    return ""


def container(image: Stage, folder: Path, kubeconfig: Path) -> list[str]:
    """Return the command that runs a program in the image as a pod would: its user, and no file that can be written.

    Only /dev/shm can be written, as in every container.
    """
    root, secrets = folder / "container", folder / "secrets"
    shutil.copytree(image.root, root, symlinks=True)
    for name in ("proc", "dev", "run/secrets"):
        (root / name).mkdir(parents=True, exist_ok=True)
    secrets.mkdir()
    (secrets / "kubeconfig").write_text(kubeconfig.read_text())
    env = shlex.join(f"{key}={value}" for key, value in (image.env | {"KUBECONFIG": "/run/secrets/kubeconfig"}).items())
    script = f"""set -e
        mount --bind {root} {root}
        mount -t proc proc {root}/proc
        mount --rbind /dev {root}/dev
        mount --bind {secrets} {root}/run/secrets
        mount -o remount,bind,ro {root}
        if touch {root}/tmp/written 2>/dev/null; then echo "the root can be written"; exit 1; fi
        exec env -i {env} /usr/sbin/chroot --userspec={image.user} --groups= {root} "$@"
        """
    return ["unshare", "--mount", "--propagation=private", "--", "/bin/sh", "-c", script, "sh"]


def rollout(image: Stage, folder: Path) -> tuple[str, str]:
    """Run the operator from the image on the bed; return who it ran as, and how a plan ended."""
    with Bed.up() as bed:
        install(bed)
        program = [*container(image, folder, bed.kubeconfig()), image.entrypoint[0]]
        with Operator(bed, program=program) as operator:
            status = Path(f"/proc/{operator.process.pid}/status").read_text()
            (user,) = re.findall(r"(?m)^Uid:\t(\d+)", status)
            shop = Shop(bed, "image").open()
            bed.load(shop.host, 50.0, 600.0)
            bed.apply(shop.plan())
            ended = until(lambda: _phase(bed, shop), 120, "the end of the plan")
    return user, ended


def _phase(bed: Bed, shop: Shop) -> str:
    phase = bed.get(PLANS.format(shop.namespace, "checkout")).get("status", {}).get("phase", "")
    return phase if phase in ENDED else ""


def rows(folder: Path) -> Iterator[tuple[str, str, bool]]:
    """What is checked, what was seen, and whether it is as it must be."""
    epoch = _git("log", "-1", "--format=%ct")
    images = []
    for name in ("one", "other"):
        sources = folder / name / "sources"
        sources.mkdir(parents=True)
        subprocess.run(f"git archive HEAD | tar -x -C {sources}", cwd=ROOT, shell=True, check=True)  # noqa: S602
        began = time.monotonic()
        images.append(build(sources, base(), folder / name / "stages", epoch))
        yield f"the steps in a clean root, {name}", f"{time.monotonic() - began:.0f} s", True
    image = images[0]
    size = megabytes(image.root)
    yield "size of its files", f"{size:.0f} MB (limit {LIMIT})", size < LIMIT
    found = [digest(each.root) for each in images]
    yield "bytes, modes and times of both", " ".join(sum_[:16] for sum_ in found), found[0] == found[1]
    for name, machine in MACHINES.items():
        for python in PYTHONS:
            said = without_wheel(machine, python)
            yield f"wheels for {name}, Python {python}", said or "all", not said
    user, ended = rollout(image, folder)
    yield "user of the operator, in a read-only root", user, user == image.user.partition(":")[0]
    yield "a rollout on the bed", ended, ended == "Succeeded"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def missing() -> str:
    """What this machine lacks for the check, and the fix; "" where nothing."""
    if names := [name for name in PROGRAMS if not shutil.which(name)]:
        packages = " ".join(sorted({PROGRAMS[name] for name in names}))
        return f"make image-check needs {', '.join(names)}; on Debian: apt-get install {packages}"
    return "make image-check needs root, for roots and mounts of its own: run it with sudo" if os.geteuid() else ""


def main() -> int:
    if said := missing():
        sys.exit(said)
    table, good = Table("", "seen", "", title=f"the image of {_git('rev-parse', '--short', 'HEAD')}"), True
    folder = Path(tempfile.mkdtemp(prefix="rolloutplan-image-"))
    try:
        for what, seen, well in rows(folder):
            table.add_row(what, seen, "ok" if well else "NOT OK")
            good = good and well
    finally:
        Console(width=max(100, Console().width)).print(table)
        shutil.rmtree(folder)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

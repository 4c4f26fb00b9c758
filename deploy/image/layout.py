"""Lay out the files of the image: the base's Python, an environment, and the libraries that both load; nothing else.

The Containerfile calls it in its build stage, with the base's own Python: `layout.py ENVIRONMENT ROOT`. The same files
give the same bytes: times are set, and bytecode does not depend on them.
"""

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

UNUSED_MODULES = {
    "__pycache__", "dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test", "tests",
    "tkinter", "turtledemo",
}  # fmt: skip
UNUSED_CLASSES = [
    f"kubernetes/{client}/{part}/[!_]*" for client in ("client", "aio/client") for part in ("api", "models")
]
"""70 MB of classes that the operator does not use: it has the client's transport and configuration only."""
FILES = {
    "etc/passwd": "root:x:0:0:root:/:/sbin/nologin\nrolloutplan:x:65532:65532:rolloutplan:/:/sbin/nologin\n",
    "etc/group": "root:x:0:\nrolloutplan:x:65532:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def lay_out(environment: Path, root: Path) -> None:
    for link in ("lib", "lib64"):  # where the base has them as links into /usr
        if (place := Path("/", link)).is_symlink():
            (root / place.readlink().as_posix().lstrip("/")).mkdir(parents=True, exist_ok=True)
            (root / link).symlink_to(place.readlink())
    shutil.copytree(environment, root / environment.relative_to("/"), symlinks=True)
    for file in _links(environment / "bin" / "python"):
        _copy(file, root)
    for packages in (root / environment.relative_to("/") / "lib").glob("python*/site-packages"):
        _prune(packages)
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library, root / library.relative_to("/"), dirs_exist_ok=True, ignore=_unused)
    for program in (Path(os.path.realpath(sys.executable)), *root.rglob("*.so"), *root.rglob("*.so.*")):
        for needed in _libraries(program):
            _copy(needed, root)
    _copy(CERTIFICATES, root)
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "tmp").mkdir()
    _compile(root)
    _settle(root)


def _prune(packages: Path) -> None:
    """Remove what the operator does not use, and what two builds do not have in common."""
    for pattern in UNUSED_CLASSES:
        for module in packages.glob(pattern):
            module.unlink()
    for record in packages.glob("*.dist-info/RECORD"):
        _forget(record, "uv_cache.json")


def _forget(record: Path, name: str) -> None:
    """Remove a file of a package that has the time of its installation."""
    if (file := record.with_name(name)).exists():
        file.unlink()
        kept = [line for line in record.read_text().splitlines(keepends=True) if f"/{name}," not in line]
        record.write_text("".join(kept))


def _links(path: Path) -> Iterator[Path]:
    """All names on the way from a link to its file."""
    yield path
    while path.is_symlink():
        path = Path(os.path.normpath(path.parent / path.readlink()))
        yield path


def _copy(file: Path, root: Path) -> None:
    """Copy a file, or the link that it is, to the same place below `root`."""
    place = root / file.relative_to("/")
    if not os.path.lexists(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, place, follow_symlinks=False)


def _unused(folder: str, names: list[str]) -> set[str]:
    gone = {name for name in names if name in UNUSED_MODULES or name.startswith("config-") or name.endswith(".a")}
    return gone | {name for name in names if Path(folder, name).is_symlink()}  # Debian's links into /etc


def _libraries(program: Path) -> Iterator[Path]:
    """The shared libraries that a program loads, with the links by which it names them."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout  # noqa: S603, S607
    for path in re.findall(r"(?:=> )?(/\S+) \(0x", listed):
        yield from _links(Path(path))


def _compile(root: Path) -> None:
    for folder in sorted({*root.glob("opt/*/lib"), *root.glob("usr/lib/python*"), *root.glob("usr/local/lib/python*")}):
        compileall.compile_dir(
            folder,
            quiet=2,
            stripdir=str(root),
            prependdir="/",
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def _settle(root: Path) -> None:
    """Give everything the same time and plain modes."""
    time = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or (os.access(path, os.X_OK) and path.stat().st_mode & 0o111) else 0o644)
        os.utime(path, (time, time), follow_symlinks=False)
    (root / "tmp").chmod(0o1777)
    os.utime(root / "tmp", (time, time))


if __name__ == "__main__":
    lay_out(*map(Path, sys.argv[1:]))

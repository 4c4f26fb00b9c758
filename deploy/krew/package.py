"""Build the krew plugin: an archive with the wheel and its launcher, and the manifest with the archive's checksum.

`make krew` calls it, with URL=https://... where the archive is going to be published. Both go to dist/krew/.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "deploy" / "krew"


def build(into: Path, url: str = "") -> tuple[Path, Path]:
    """Write the archive and the manifest into a folder; return their paths. The same sources give the same bytes."""
    into.mkdir(parents=True, exist_ok=True)
    text = (HERE / "rolloutplan.yaml").read_text()
    version = yaml.safe_load(text)["spec"]["version"].removeprefix("v")
    hatchling = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into)]
    subprocess.run(hatchling, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - nothing of it is input
    (wheel,) = into.glob(f"rolloutplan-{version}-*.whl")
    archive, manifest = into / f"rolloutplan-{version}.tar.gz", into / "rolloutplan.yaml"
    programs = HERE / "kubectl-rolloutplan", HERE / "kubectl_complete-rolloutplan"
    archive.write_bytes(_archive((*programs, wheel, ROOT / "requirements.lock", ROOT / "LICENSE")))
    wheel.unlink()
    checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
    text = re.sub(r"(?m)^( +sha256: ).*$", rf'\1"{checksum}"', text[text.index("apiVersion") :])
    manifest.write_text(re.sub(r"(?m)^( +uri: ).*$", lambda found: found[1] + url, text) if url else text)
    return archive, manifest


def _archive(files: tuple[Path, ...]) -> bytes:
    """Return a .tar.gz of these files, without the times and owners of this machine."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for file in files:
            data = file.read_bytes()
            entry = tarfile.TarInfo(file.name)
            entry.size, entry.mode = len(data), 0o755 if file.suffix == "" and file.parent == HERE else 0o644
            tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


if __name__ == "__main__":
    for path in build(ROOT / "dist" / "krew", sys.argv[1] if len(sys.argv) > 1 else ""):
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")

"""Our Dockerfile and compose file, built and run by buildah and podman in a folder of their own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import absent

ROOT = Path(__file__).resolve().parents[2]
BASE = "docker.io/library/python:3.12-slim"
VALKEY = "docker.io/valkey/valkey:8.1"
TOOLS = ("buildah", "podman", "runc", "debootstrap")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
SAFE = (
    "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp", "--cap-drop", "ALL",
    "--security-opt", "no-new-privileges",
)  # fmt: skip

STORAGE = '[storage]\ndriver = "overlay"\nrunroot = "{0}/run"\ngraphroot = "{0}/store"\n'
CONTAINERS = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "{0}/networks"
"""


class Containers:
    """Images and containers below ``folder``; the user's own are neither seen nor touched."""

    def __init__(self, folder: Path) -> None:
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        if missing or os.geteuid() != 0:
            absent(f"{', '.join(missing) or 'root'} (as root: sh scripts/container-deps.sh)")
        for name in ("run", "store", "networks", "tmp"):
            (folder / name).mkdir()
        (folder / "storage.conf").write_text(STORAGE.format(folder))
        (folder / "containers.conf").write_text(CONTAINERS.format(folder))
        self.folder = folder
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")} | {
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "TMPDIR": str(folder / "tmp"),
        }

    def run(self, *command: str | Path, ok: tuple[int, ...] = (0,), seconds: float = 300) -> str:
        """What a command prints on standard output; its status must be one of ``ok``."""
        done = subprocess.run(
            [*map(str, command)], env=self.env, cwd=ROOT, capture_output=True, text=True,
            check=False, timeout=seconds,
        )  # fmt: skip
        assert done.returncode in ok, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def podman(self, *arguments: str | Path, ok: tuple[int, ...] = (0,)) -> str:
        return self.run("podman", *arguments, ok=ok).strip()

    def compose(self, *arguments: str, **settings: object) -> str:
        """podman-compose on our own file, with settings of its environment."""
        if shutil.which("podman-compose", path=str(Path(sys.executable).parent)) is None:
            absent("podman-compose (pip install podman-compose)")
        self.env.update({name: str(value) for name, value in settings.items()})
        return self.run(Path(sys.executable).with_name("podman-compose"), *arguments)

    def import_base(self) -> None:
        """The stand-in for every base image, kept between runs for as long as its recipe stays."""
        recipe = ROOT / "scripts" / "base-image.sh"
        digest = hashlib.sha256(recipe.read_bytes()).hexdigest()[:16]
        kept = Path(tempfile.gettempdir()) / f"gemma-gateway-base-{digest}.tar"
        if not kept.exists() or kept.stat().st_uid != os.geteuid():
            self.run("sh", recipe, kept, seconds=400)
        path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.podman("import", "--change", path, kept, BASE)
        self.podman("tag", BASE, VALKEY)

    def build(self, tag: str, context: Path = ROOT, *arguments: str) -> list[str]:
        """Build the default target; returns the digests of its layers."""
        # Where a proxy signs with an authority of its own, the build must know it; the image not.
        proxied = [f"-v={CERTIFICATES}:{CERTIFICATES}:ro"] if "SSL_CERT_FILE" in os.environ else []
        index = os.environ.get("PIP_INDEX_URL")
        named = ["--build-arg", f"PIP_INDEX_URL={index}"] if index else []
        self.run(
            "buildah", "bud", "--pull-never", "--layers", "--format", "docker",
            "--isolation", "chroot", "--network", "host", *proxied, *named, *arguments,
            "-t", tag, context,
        )  # fmt: skip
        return self.podman(
            "image", "inspect", tag, "--format", "{{range .RootFS.Layers}}{{.}} {{end}}"
        ).split()

    def healthy(self, name: str) -> bool:
        """Whether the container's own HEALTHCHECK passes now."""
        return self.podman("healthcheck", "run", name, ok=(0, 1)) != "unhealthy"

    def until_healthy(self, name: str, seconds: float = 30) -> None:
        if not until(lambda: self.healthy(name), seconds):
            raise AssertionError(f"{name} isn't healthy: {self.podman('logs', name)}")

    def close(self) -> None:
        """Remove every container and file."""
        self.podman("rm", "--all", "--force", "--volumes", "--time", "2")
        self.podman("network", "prune", "--force")
        subprocess.run(["umount", "-R", self.folder / "store" / "overlay"], check=False,
                       capture_output=True)  # fmt: skip
        shutil.rmtree(self.folder)


def until(true: Callable[[], bool], seconds: float) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.3)
    return True

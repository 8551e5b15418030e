"""Independent container tools, without a daemon or registry."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 300


@dataclass
class Buildah:
    """buildah with its own storage."""

    storage: Path

    def command(self, *arguments: str | Path) -> list[str]:
        """The command line for `arguments`."""
        state = [f"--root={self.storage}/root", f"--runroot={self.storage}/run", "--storage-driver=vfs"]
        return ["buildah", *state, *map(str, arguments)]

    def run(self, *arguments: str | Path) -> str:
        """Runs buildah and returns its output."""
        return _run(self.command(*arguments))

    def container(self, image: str) -> str:
        """Unpacks an image layout into a new container and returns its name."""
        # buildah derives an image name from the path, and not every path is valid: the name of a temporary
        # folder may end in an underscore.
        folder, _, name = image.rpartition("/")
        return _run(self.command("from", "--pull-never", f"oci:{name}"), folder).strip()


def umoci_unpack(image: str, bundle: Path) -> Path:
    """Unpacks an image layout and returns the root folder. umoci checks the diff IDs."""
    _run(["umoci", "unpack", "--image", image, str(bundle)])
    return bundle / "rootfs"


def _run(command: list[str], folder: str | None = None) -> str:
    process = subprocess.run(
        command,
        cwd=folder,
        # Requires neither user namespaces nor a service.
        env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert process.returncode == 0, f"{command}:\n{process.stderr}"
    return process.stdout

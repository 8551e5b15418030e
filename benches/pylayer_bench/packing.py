"""The layers of a binary, written by `pylayer pack`."""

import json
import subprocess
from pathlib import Path

from layers import Layer

from pylayer_bench.bench import Bench
from pylayer_bench.corpus import BINARY

RUNFILES_ROOT = "/app/.runfiles"
# The option for images that share their layers.
SHARED = f"--runfiles-root={RUNFILES_ROOT}"


class PackedLayer(Layer):
    """A layer, and its description by `pylayer pack --json`."""

    def __init__(self, description: dict):
        super().__init__(Path(description["path"]))
        self.name: str = description["layer"]
        self.size: int = description["size"]
        # Those of the base class are computed from the file, which takes long for a gigabyte.
        self.digest = description["digest"]
        self.diff_id = description["diff_id"]


def pack(bench: Bench, folder: Path, name: str, *options: str, binary: str = BINARY) -> list[PackedLayer]:
    """Packs a binary in `folder`, which may be a corpus, and writes the layers to the scratch folder `name`."""
    command = [bench.program, "pack", f"--binary={folder / binary}", f"--name={binary}", "--root=/app"]
    command += [*options, f"--out={bench.scratch / name}", "--json"]
    packed = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return [PackedLayer(description) for description in json.loads(packed.stdout)]


def packages(layers: list[PackedLayer]) -> list[PackedLayer]:
    """The layers of the group `packages`, which may be split."""
    return [layer for layer in layers if layer.name.partition("_")[0] == "packages"]

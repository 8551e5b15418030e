"""The action that writes one layer: its arguments, inputs and execution root."""

import copy
import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from pylayer_bench.files import File, total_size
from pylayer_bench.manifests import layer_manifest
from pylayer_bench.worker import work_request


def layer_settings(
    codec: str = "gzip", level: int | None = None, *, dedupe: bool = True, lazy: str | None = None
) -> str:
    """The settings file of a layer with all files."""
    settings = {"compress": codec, "level": level, "dedupe": dedupe}
    return json.dumps(settings | ({"lazy": lazy} if lazy else {}))


def layer_arguments(settings: str, manifest: str, output: str) -> list[str]:
    """The arguments for one layer, with all outputs that the rule requests."""
    inputs = ["--layer=all", f"--settings={settings}", f"--manifest={manifest}"]
    return [*inputs, f"--output=out/{output}", "--descriptor=out/layer.json", "--listing=out/layer.mtree"]


class Execroot:
    """A folder in which actions run, and the digests of their inputs, which Bazel would send."""

    def __init__(self, folder: Path, corpus: Path, files: Iterable[File]):
        self.folder = folder
        self.digests: dict[str, str] = {}
        (folder / "corpus").symlink_to(corpus)
        (folder / "out").mkdir()
        for file in files:
            if file.source:
                self.digests[f"corpus/{file.image}"] = sha256(file.source.read_bytes())

    def write(self, path: str, content: bytes) -> None:
        """Creates or changes an input."""
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(content)
        self.digests[path] = sha256(content)

    def generate(self, path: str, content: bytes) -> None:
        """Creates an input that an action of the rule writes. Bazel runs that only if the content changes."""
        if self.digests.get(path) != sha256(content):
            self.write(path, content)

    def remove_outputs(self) -> None:
        """Removes the outputs, as Bazel does before an action."""
        for output in (self.folder / "out").iterdir():
            output.unlink()

    def output_size(self) -> int:
        return (self.folder / "out/layer").stat().st_size


class Layer:
    """An action that writes one layer. The files at image paths can be replaced between requests."""

    def __init__(
        self, execroot: Execroot, name: str, files: Iterable[File], codec: str = "gzip", level: int | None = None
    ):
        self.execroot, self.name, self.codec, self.level = execroot, name, codec, level
        # By image path. Sources are relative to the execution root.
        self.files = {
            file.image: dataclasses.replace(file, source=Path("corpus", file.image)) if file.source else file
            for file in files
        }

    def replace(self, image: str, content: bytes) -> None:
        """Puts `content` at `image`, with the same exec path each time, like the output of another action."""
        self.execroot.write(f"edited/{image}", content)
        self.files[image] = File(image, Path("edited", image))

    def moved(self, name: str, old: str, new: str) -> "Layer":
        """A layer with the same contents at other image paths."""
        layer = copy.copy(self)
        moved = [dataclasses.replace(file, image=file.image.replace(old, new, 1)) for file in self.files.values()]
        layer.name, layer.files = name, {file.image: file for file in moved}
        return layer

    def listed_differently(self, name: str) -> "Layer":
        """A layer with the same contents at the same image paths. Its manifest has another order, so that it must be
        parsed, and its settings are another file, as for another image."""
        layer = copy.copy(self)
        layer.name, layer.files = name, dict(reversed(self.files.items()))
        return layer

    def total_size(self) -> int:
        return total_size(self.files.values(), self.execroot.folder)

    def request(self) -> bytes:
        """The work request, as sent to a worker."""
        settings, manifest = f"{self.name}.settings.json", f"{self.name}.manifest"
        self.execroot.generate(settings, layer_settings(self.codec, self.level).encode())
        self.execroot.generate(manifest, layer_manifest(self.files.values()).encode())
        inputs = [settings, manifest, *sorted(str(file.source) for file in self.files.values() if file.source)]
        arguments = layer_arguments(settings, manifest, "layer")
        return work_request(arguments, ((path, self.execroot.digests[path]) for path in inputs))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

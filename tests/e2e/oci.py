"""Writes OCI image layouts from layer files, without changing a byte."""

import hashlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path

from layers import Layer

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
CREATED = "1970-01-01T00:00:00Z"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def write_image(
    folder: Path,
    layers: Sequence[Layer],
    config: dict | None = None,
    annotations: Sequence[dict] | None = None,
) -> str:
    """Writes an image layout with the tag `latest`. Returns its name for container tools.

    `annotations` are those of the layers' descriptors.
    """
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(media_type: str, content: bytes) -> dict:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def put_json(media_type: str, content: dict) -> dict:
        return put(media_type, json.dumps(content).encode())

    image = {
        "created": CREATED,
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": CREATED, "created_by": layer.path.name} for layer in layers],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": put_json(CONFIG, image),
        "layers": [put(layer.media_type, layer.blob) for layer in layers],
    }
    for descriptor, own in zip(manifest["layers"], annotations or [], strict=bool(annotations)):
        descriptor["annotations"] = own
    entry = put_json(MANIFEST, manifest)
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    return f"{folder}:latest"

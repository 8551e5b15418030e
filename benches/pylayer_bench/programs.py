"""The compared programs: the build of pylayer, and the command lines, as BENCHMARKS.md shows them."""

import json
import subprocess
from pathlib import Path

from pylayer_bench.action import layer_arguments, layer_settings
from pylayer_bench.paths import REPOSITORY

# Divides the manifest like the original py_image_layer, here into one group with every path.
AWK = r"""awk 'BEGIN { print "#mtree" } $1 !~ /\.whl$/ { sub(/^/, "./"); if ($1 ~ ".") print }' $MTREE > $OUT/spec"""
BSDTAR_GZIP = f"{AWK} && bsdtar --create --gzip --options gzip:!timestamp --file $OUT/layer.tar.gz @$OUT/spec"
BSDTAR_ZSTD = f"{AWK} && bsdtar --create --zstd --options zstd:compression-level=3 --file $OUT/layer.tar.zst @$OUT/spec"
BSDTAR_PLAIN = f"{AWK} && bsdtar --create --file $OUT/layer.tar @$OUT/spec"
GNU_TAR = (
    "tar --create --directory $CORPUS --sort=name --owner=0 --group=0 --numeric-owner --mode=0755"
    " --mtime=@1672560000 --exclude='*.whl' ./app"
)
GZIP_DIGESTS = "sha256sum $OUT/layer.tar.gz && gzip -dc $OUT/layer.tar.gz | sha256sum"
ZSTD_DIGESTS = "sha256sum $OUT/layer.tar.zst && zstd -dc $OUT/layer.tar.zst | sha256sum"


def pylayer(
    codec: str, level: int | None = None, *, dedupe: bool = False, wheels: bool = False, lazy: str | None = None
) -> str:
    """An action, as started by a remote executor, and its settings file."""
    output = {"gzip": "layer.tar.gz", "zstd": "layer.tar.zst", "none": "layer.tar"}[codec]
    settings = f"echo '{layer_settings(codec, level, dedupe=dedupe, lazy=lazy)}' > settings.json"
    arguments = " ".join(layer_arguments("settings.json", "manifest", output))
    return f"cd $EXECROOT && {settings} && $PYLAYER {arguments}{' @wheels' if wheels else ''}"


LIFTED = "pylayer, gzip 6, wheels"

COMMANDS = {
    **{f"pylayer, gzip {level}": pylayer("gzip", level) for level in (1, 4, 6, 9)},
    LIFTED: pylayer("gzip", 6, wheels=True),
    **{f"pylayer, zstd {level}": pylayer("zstd", level) for level in (1, 3)},
    "pylayer, none": pylayer("none"),
    "pylayer, gzip 6, equal files once": pylayer("gzip", 6, dedupe=True),
    "awk + bsdtar, gzip 6": BSDTAR_GZIP,
    "awk + bsdtar, gzip 6, then digests": f"{BSDTAR_GZIP} && {GZIP_DIGESTS}",
    "awk + bsdtar, zstd 3": BSDTAR_ZSTD,
    "awk + bsdtar, zstd 3, then digests": f"{BSDTAR_ZSTD} && {ZSTD_DIGESTS}",
    "awk + bsdtar, none": BSDTAR_PLAIN,
    "awk + bsdtar, none, then digest": f"{BSDTAR_PLAIN} && sha256sum $OUT/layer.tar",
    "GNU tar + pigz, gzip 6": f"{GNU_TAR} | pigz -6 -p $JOBS > $OUT/layer.tar.gz",
    "GNU tar + zstd -T0, zstd 3": f"{GNU_TAR} | zstd -q -T0 -3 > $OUT/layer.tar.zst",
    "Python tarfile, gzip 6": "python3 benches/tarfile_layer.py $MANIFEST $OUT/layer.tar.gz",
}

# Layers that can be pulled in part, each after the one that it is compared with.
LAZY_COMMANDS = {
    "gzip 6": pylayer("gzip", 6),
    "gzip 6, estargz": pylayer("gzip", 6, lazy="estargz"),
    "gzip 6, wheels": pylayer("gzip", 6, wheels=True),
    "gzip 6, wheels, estargz": pylayer("gzip", 6, wheels=True, lazy="estargz"),
    "zstd 3": pylayer("zstd", 3),
    "zstd 3, zstd:chunked": pylayer("zstd", 3, lazy="zstd:chunked"),
}

# The baselines of each codec, without and with digests.
BASELINES = {"gzip": "awk + bsdtar, gzip 6", "zstd": "awk + bsdtar, zstd 3", "none": "awk + bsdtar, none"}
DIGEST_BASELINES = {
    "gzip": "awk + bsdtar, gzip 6, then digests",
    "zstd": "awk + bsdtar, zstd 3, then digests",
    "none": "awk + bsdtar, none, then digest",
}


def commands(*names: str) -> dict[str, str]:
    return {name: COMMANDS[name] for name in names}


def build_pylayer() -> Path:
    """Builds pylayer, and returns the path that Cargo prints."""
    command = ["cargo", "build", "--release", "--locked", "--message-format=json-render-diagnostics"]
    messages = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout
    programs = [json.loads(line).get("executable") for line in messages.splitlines()]
    return Path(next(program for program in programs if program))

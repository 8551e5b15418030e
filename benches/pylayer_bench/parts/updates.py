"""What must be pushed after an update of one package, by the number of layers that packages are split into."""

import shutil
import subprocess

from pylayer_bench.bench import Bench
from pylayer_bench.console import check, say
from pylayer_bench.packing import RUNFILES_ROOT, SHARED, PackedLayer, pack, packages
from pylayer_bench.results import Row

SPLITS = (1, 2, 4, 8, 16, 32)


def measure(bench: Bench) -> dict[str, list[Row]]:
    rows = []
    for layers in SPLITS:
        name = f"split = {layers}" if layers > 1 else "not split"
        say(f"  {name}")
        options = [SHARED, f"--split={layers}"]
        row = Row(name, f"pylayer pack --binary=app/app_bin --root=/app {' '.join(options)} --out=layers --json")
        packed = packages(pack(bench, bench.corpus, "updates", *options))
        sizes = {layer: layer.size for layer in packed}
        owners = [(distribution, size) for layer, size in sizes.items() for distribution in distributions(layer)]
        check(len(dict(owners)) == len(owners), f"{name}: a distribution is in several layers")
        row.size, row.layers, row.sent = sum(sizes.values()), len(packed), [size for _, size in sorted(owners)]
        rows.append(row)
        shutil.rmtree(bench.scratch / "updates")
    return {"updates": rows}


def distributions(layer: PackedLayer) -> set[str]:
    """The distributions in a layer. In the corpus, each has a repository of its own."""
    listing = subprocess.run(["bsdtar", "--list", "--file", layer.path], check=True, stdout=subprocess.PIPE, text=True)
    paths = ("/" + path.removeprefix("./") for path in listing.stdout.splitlines())
    start = f"{RUNFILES_ROOT}/"
    return {path.removeprefix(start).partition("/")[0] for path in paths if path.startswith(start)} - {""}

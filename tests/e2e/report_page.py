"""Report pages of generated images, and the browser that opens them.

    report_page.py PAGE [FOLDER]     writes report.png and report_dark.png, screenshots of a page
"""

import copy
import hashlib
import json
import random
import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

from bazel import CHECKOUT, run_program

HOSTILE_NAMES = [
    '</script><img src=x onerror="document.title=1">.py',
    "<!--<script>.py",
    "{{data}}/*{{js}}*/.py",
    "line\nbreak\tand\x1b[31mred\x00.py",
    "\u202egnp.exe\u2066.py",
    "zero\u200bwidth\ufeff.py",
    "quotes\"'`&amp;.py",
    "long" + "g" * 240 + ".py",
    "back\\slash\\x41.py",
    "спам-日本語-🐍.py",
]


class Builder:
    """Collects the files of an image, and describes it as the program does (docs/formats.md)."""

    def __init__(self, seed: int, layers: list[str]) -> None:
        self.random = random.Random(seed)
        self.layers: dict[str, list[dict]] = {name: [] for name in layers}
        self.components: list[dict] = []
        self.left_out: list[dict] = []

    def component(self, kind: str, name: str, version: str | None = None) -> int:
        self.components.append({"kind": kind, "name": name} | ({"version": version} if version else {}))
        return len(self.components) - 1

    def directory(self, path: str, layer: str, component: int) -> None:
        self._entry(path, "directory", layer, component, mode=0o755)

    def link(self, path: str, layer: str, component: int, target: str, kind: str = "symlink") -> None:
        self._entry(path, kind, layer, component, mode=0o777, link=target)

    def add(
        self, path: str, layer: str, component: int, size: int, *, ratio: float = 0, content: str | None = None
    ) -> None:
        """Adds a file. Those with the same `content` are identical."""
        ratio = ratio or self.random.uniform(0.22, 0.45)
        digest = sha256(path if content is None else content)
        compressed = int(size * ratio) + 60
        self._entry(path, "file", layer, component, size=size, compressed=compressed, sha256=digest, mode=0o755)

    def _entry(self, path: str, kind: str, layer: str, component: int, **more) -> None:
        owner = {"uid": 0, "gid": 0, "mtime": 1672560000}
        # A byte that is not UTF-8 would be written with a backslash.
        path = path.replace("\\", "\\\\")
        self.layers[layer].append({"path": path, "type": kind, "component": component, **owner, **more})

    def leave_out(self, path: str, size: int) -> None:
        self.left_out.append({"path": path, "size": size})

    def size(self, median: float) -> int:
        return int(self.random.lognormvariate(0, 1.3) * median) + 1

    def contents(self, partition: dict | None = None) -> dict:
        image = {
            "schema": "pylayer.image.v1",
            "name": "//app:layers",
            "components": self.components,
            "layers": [{"name": name, "entries": entries} for name, entries in self.layers.items()],
        }
        for layer in image["layers"]:
            measure(layer)
        if partition:
            image["partition"] = partition | {"left_out": self.left_out}
        return image


def measure(layer: dict) -> None:
    """Sets the sizes and digests of a layer. They follow from its entries."""
    entries = layer["entries"]
    tar_size = sum((entry.get("size", 0) + 511) // 512 * 512 + 512 for entry in entries) + 1024
    tar = sha256(json.dumps(entries))
    layer |= {
        "media_type": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": f"sha256:{sha256('compressed' + tar)}",
        "size": sum(entry.get("compressed", 0) for entry in entries) + 300,
        "diff_id": f"sha256:{tar}",
        "tar_size": tar_size,
        "chunks": tar_size // (1 << 20) + 1,
    }


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


RUNFILES = "app/server/server.runfiles"
TORCH = "/(?:[^/]*[~+])?pip_deps_(?:[0-9]+_)?torch(?:_[^/]*)?/"


def partition() -> dict:
    """How the generated images are divided."""
    exclude = ["/__pycache__/", "/lib/python3\\.[0-9]+/(?:test|tests|idlelib)/", "\\.pdb$"]
    own = {"torch": TORCH, "models": "/models/.*\\.onnx$"}
    default = {
        "interpreter": "/python_3_12_[^/]*/",
        "packages": "/(?:[^/]*[~+])?pip_deps_[^/]*/",
        "tests": "/fixtures/",
    }
    return {
        "groups": {
            "layer_groups": layer_groups(own),
            "default_groups": layer_groups(default),
            "split": [],
            "runfiles": RUNFILES,
            "distributions": {},
        },
        "exclude": exclude,
        "dropped": ["tests"],
        "target": {
            "label": "//app:layers",
            "build_file": "app/BUILD.bazel",
            "layer_groups": layer_groups(own | {"torch": "{pip_package:torch}"}),
            "exclude": [{"attribute": "exclude", "pattern": pattern} for pattern in exclude],
            "cpu": "x86_64",
        },
    }


def layer_groups(patterns: dict[str, str]) -> list[dict]:
    return [{"name": name, "pattern": pattern} for name, pattern in patterns.items()]


def small_image() -> dict:
    """A service with some hundred files in five layers, and everything that a report can contain."""
    image = Builder(1, ["interpreter", "torch", "models", "packages", "default"])
    python = image.component("interpreter", "python", "3.12")
    interpreter = f"{RUNFILES}/python_3_12_x86_64-unknown-linux-gnu"
    image.directory(interpreter, "interpreter", python)
    image.add(f"{interpreter}/lib/libpython3.12.so.1.0", "interpreter", python, 23_400_123, ratio=0.33)
    image.add(f"{interpreter}/bin/python3.12", "interpreter", python, 9_456_000)
    image.link(f"{interpreter}/bin/python3", "interpreter", python, "python3.12")
    image.add(f"{interpreter}/lib/python3.12/os.py", "interpreter", python, 39_864)
    modules = {"asyncio": 24e3, "email": 18e3, "json": 9e3, "encodings": 8e3, "lib-dynload": 90e3}
    for name, median in modules.items():
        extension = "so" if name == "lib-dynload" else "py"
        for number in range(24):
            path = f"{interpreter}/lib/python3.12/{name}/{name}_{number}.{extension}"
            image.add(path, "interpreter", python, image.size(median))
    for number in range(60):
        path = f"{interpreter}/lib/python3.12/module_{number}.py"
        image.add(path, "interpreter", python, image.size(16e3))
    image.add(f"{interpreter}/lib/python3.12/empty.py", "interpreter", python, 0)
    for index in range(40):
        image.leave_out(f"{interpreter}/lib/python3.12/test/test_{index}.py", image.size(40e3))

    packages = {
        "numpy": ("1.26.4", 40, 120e3),
        "pandas": ("2.2.2", 40, 100e3),
        "pydantic-core": ("2.18.4", 3, 900e3),
        "fastapi": ("0.111.0", 20, 12e3),
        "uvicorn": ("0.30.1", 20, 9e3),
        "starlette": ("0.37.2", 20, 10e3),
        "orjson": ("3.10.5", 4, 180e3),
    }
    for name, (version, number, median) in packages.items():
        component = image.component("distribution", name, version)
        module = name.replace("-", "_")
        folder = f"{RUNFILES}/pip_deps_{module}/site-packages"
        for index in range(number):
            part = ("core", "lib", "io", "core/src")[index % 4]
            path = f"{folder}/{module}/{part}/{module}_{index}.py"
            image.add(path, "packages", component, image.size(median))
        library = f"{folder}/{module}.libs/libgfortran.so.5"
        image.add(library, "packages", component, 2_714_671, ratio=0.4, content="libgfortran")
        image.leave_out(f"{folder}/{module}/__pycache__/core.cpython-312.pyc", image.size(median))
    torch = image.component("distribution", "torch", "2.3.1")
    folder = f"{RUNFILES}/pip_deps_torch/site-packages/torch"
    image.add(f"{folder}/lib/libtorch_cpu.so", "torch", torch, 61_000_000, ratio=0.3)
    image.add(f"{folder}/lib/libtorch_python.so", "torch", torch, 16_000_000, ratio=0.3)
    for index in range(60):
        image.add(f"{folder}/nn/modules/module_{index}.py", "torch", torch, image.size(30e3))
    image.link(f"{folder}/lib/libgomp.so", "torch", torch, f"{folder}/lib/libtorch_cpu.so", kind="hardlink")

    own = image.component("repository", "_main")
    image.directory("app", "default", own)
    image.add("app/server/server", "default", own, 8_500)
    image.add(f"{RUNFILES}/_repo_mapping", "default", own, 900)
    image.add("app/x.py", "default", own, 4_321)
    image.add(f"{RUNFILES}/_main/models/small.onnx", "models", own, 9_000_000, ratio=0.92)
    for index in range(30):
        image.add(f"{RUNFILES}/_main/app/routes/route_{index}.py", "default", own, image.size(5e3))
        image.leave_out(f"{RUNFILES}/_main/app/fixtures/case_{index}.json", image.size(20e3))
    for index, name in enumerate(HOSTILE_NAMES):
        content = f"hostile {max(index, 1)}"
        image.add(f"{RUNFILES}/_main/hostile/{name}", "default", own, 3_000, content=content)
    usr = image.component("directory", "/usr")
    image.add("usr/share/zoneinfo/Europe/Berlin", "default", usr, 2_298)
    return image.contents(partition())


def older(image: dict) -> dict:
    """What an image like the small one was before: each layer but the first two differs in another way."""
    old = copy.deepcopy(image)
    old["name"] = "//app:layers at v1.4"
    layers = {layer["name"]: layer for layer in old["layers"]}
    paths = {entry["path"]: entry for layer in old["layers"] for entry in layer["entries"]}
    paths["app/x.py"] |= {"size": 4_100, "sha256": sha256("older")}
    paths[f"{RUNFILES}/_main/models/small.onnx"]["mode"] = 0o644
    default = layers["default"]["entries"]
    gone = {"path": f"{RUNFILES}/_main/app/routes/gone.py", "size": 812, "sha256": sha256("gone")}
    default.append(paths["app/x.py"] | gone)
    default.remove(paths[f"{RUNFILES}/_main/app/routes/route_1.py"])
    packages = layers["packages"]["entries"]
    for entry in packages[:3]:
        entry |= {"sha256": sha256("older " + entry["path"])}
    page = paths["app/x.py"] | {"path": "app/web/index.html", "sha256": sha256("web")}
    zone = paths["usr/share/zoneinfo/Europe/Berlin"]
    default.remove(zone)
    old["layers"].append({"name": "web", "entries": [page, zone]})
    for layer in old["layers"]:
        measure(layer)
    return old


def bare_image() -> dict:
    """An image of which only the tars are known."""
    image = Builder(2, ["layer 1"])
    component = image.component("directory", "/opt")
    for index in range(20):
        image.add(f"opt/tool/file_{index}", "layer 1", component, image.size(5e3))
    return image.contents()


def large_image(files: int = 150_000, distributions: int = 200) -> dict:
    """A large image: many distributions of very different sizes in deep directories."""
    image = Builder(3, ["interpreter", *(f"packages_{number}" for number in range(1, 9)), "default"])
    python = image.component("interpreter", "python", "3.12")
    interpreter = f"{RUNFILES}/python_3_12_x86_64-unknown-linux-gnu/lib/python3.12"
    for index in range(3_000):
        path = f"{interpreter}/part_{index % 40}/module_{index}.py"
        image.add(path, "interpreter", python, image.size(16e3))
    own = image.component("repository", "_main")
    for index in range(2_000):
        path = f"{RUNFILES}/_main/service/part_{index % 25}/handler_{index}.py"
        image.add(path, "default", own, image.size(4e3))
    weights = [1 / (number + 4) for number in range(distributions)]
    remaining = files - 5_000
    numbers = [int(remaining * weight / sum(weights)) for weight in weights]
    numbers[-1] += remaining - sum(numbers)
    names = ("array", "bench", "client", "dispatch", "engine", "format", "graph", "helper", "index", "kernel")
    for number, its in enumerate(numbers):
        name = f"distribution_{number:03}"
        component = image.component("distribution", name, f"{number % 7}.{number % 11}.0")
        folder = f"{RUNFILES}/rules_python++pip+pip_deps_312_{name}/site-packages/{name}"
        median = image.size(9e3)
        for index in range(its):
            part = f"{names[index % 10]}/{names[index // 10 % 7]}_{index // 400}"
            path = f"{folder}/{part}/{names[index % 9]}_{index}.py"
            image.add(path, f"packages_{1 + number % 8}", component, image.size(median))
    for index in range(5_000):
        image.leave_out(f"{RUNFILES}/_main/service/__pycache__/module_{index}.pyc", image.size(4e3))
    divided = partition()
    divided["groups"]["split"] = [{"group": "packages", "layers": 8}]
    return image.contents(divided)


def write_page(image: dict, page: Path, old: dict | None = None) -> Path:
    """Writes the contents of an image, and has the program write the page about it."""
    compare = ["--compare", write_contents(old, page.with_suffix(".old.json"))] if old else []
    run_program("report", write_contents(image, page.with_suffix(".json")), "--out", page, *compare)
    return page


def write_contents(image: dict, file: Path) -> Path:
    file.write_text(json.dumps(image), encoding="utf-8")
    return file


def page_data(page: Path) -> dict:
    """The data in a page."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def find_browser() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


def launch(playwright: Playwright) -> Browser:
    # Chromium's sandbox does not work as root.
    return playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])


def write_screenshots(browser: Browser, file: Path, folder: Path) -> list[Path]:
    """Writes images of the top of a page in both themes, for the documentation."""
    pictures = []
    for scheme, name in {"light": "report.png", "dark": "report_dark.png"}.items():
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
        page.goto(file.resolve().as_uri())
        page.wait_for_selector("html[data-ready]")
        pictures.append(folder / name)
        page.screenshot(path=pictures[-1])
        page.close()
    return pictures


if __name__ == "__main__":
    with sync_playwright() as playwright:
        opened = launch(playwright)
        write_screenshots(opened, Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else CHECKOUT / "docs"))
        opened.close()

"""A container registry on this machine, and what pushes send to it and pulls receive."""

import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

PROGRAM = "docker-registry"
TIMEOUT = 300
START_TIMEOUT = 30

# Port 0 is any free port, which is in the log.
CONFIGURATION = """\
version: 0.1
log: {{accesslog: {{disabled: true}}, level: info}}
storage: {{filesystem: {{rootdirectory: {storage}}}}}
http: {{addr: "127.0.0.1:0"}}
"""
LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")
# The request that ends the upload of a blob.
UPLOADED = re.compile(r"method=PUT [^\n]*/v2/(\S+)/blobs/uploads/\S*digest=sha256%3A([0-9a-f]{64})\S* [^\n]*status=201")


class Registry:
    """A running registry. Pushes and pulls go through a proxy that counts their bytes."""

    def __init__(self, log: Path, proxy: "CountingProxy"):
        self.log, self.proxy = log, proxy

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.proxy.port}"

    def push(self, image: str, name: str) -> int:
        """Pushes an image layout under a name such as `server:latest`. Returns the number of bytes sent."""
        before = self.proxy.sent
        target = f"docker://{self.address}/{name}"
        command = ["skopeo", "copy", "--insecure-policy", "--quiet", "--dest-tls-verify=false", f"oci:{image}", target]
        process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT)
        assert process.returncode == 0, f"{command}:\n{process.stderr}"
        return self.proxy.sent - before

    def uploaded(self, name: str) -> set[str]:
        """The digests of the layers and configs that were sent as part of an image called `name`, without its tag."""
        uploads = UPLOADED.findall(self.log.read_text())
        return {f"sha256:{digest}" for repository, digest in uploads if repository == name}


@contextmanager
def registry(folder: Path) -> Iterator[Registry]:
    """A new registry without images, whose files are in the existing `folder`."""
    storage, configuration, log = folder / "storage", folder / "registry.yml", folder / "registry.log"
    configuration.write_text(CONFIGURATION.format(storage=storage))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PROGRAM, "serve", configuration], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        with closing(CountingProxy(_port(process, log))) as proxy:
            yield Registry(log, proxy)
    finally:
        process.terminate()
        process.wait()


def _port(process: subprocess.Popen, log: Path) -> int:
    """Waits until the registry listens, and returns its port."""
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        if found := LISTENING.search(log.read_text()):
            return int(found[1])
        time.sleep(0.05)
    raise AssertionError(f"{PROGRAM} does not listen:\n{log.read_text()}")


class CountingProxy:
    """Forwards connections to a port of this machine, and counts what clients send and receive."""

    def __init__(self, upstream: int):
        self.upstream = upstream
        self.sent = 0
        self.received = 0
        # Of HTTP, which clients send in one piece each.
        self.gets = 0
        self.lock = threading.Lock()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Unlike close(), this ends a pending accept().
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.server.accept()
                server = socket.create_connection(("127.0.0.1", self.upstream))
                for source, target, is_sent in [(client, server, True), (server, client, False)]:
                    threading.Thread(target=self._forward, args=(source, target, is_sent), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, is_sent: bool) -> None:
        """Forwards one direction of a connection until its end."""
        with suppress(OSError):
            while content := source.recv(1 << 20):
                with self.lock:
                    self.sent += len(content) if is_sent else 0
                    self.gets += content.startswith(b"GET ") if is_sent else 0
                    self.received += 0 if is_sent else len(content)
                target.sendall(content)
        # Ends the other direction as well, in which the peer may be waiting.
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

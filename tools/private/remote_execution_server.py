#!/usr/bin/env python3
"""remote_execution_server.py BUILDBOX_BIN DIR PORT: remote execution on 127.0.0.1, until SIGTERM.

buildbox-casd does the work: storage, action cache and execution. It announces version 2.1 and later of the
Remote Execution API. Bazel 7 requires 2.0, which casd also serves. So this proxy forwards every call
unchanged, and only adds support for 2.0 to the response of GetCapabilities.
"""

import os
import signal
import subprocess
import sys
import tempfile
from concurrent import futures
from pathlib import Path

import grpc

# ServerCapabilities.low_api_version (field 4) = SemVer{minor (field 2): 0}. In protobuf, the last occurrence
# of a field wins, so it can be appended.
LOW_API_VERSION_2_0 = b"\x22\x02\x10\x00"

# Bazel sends whole files in one message.
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

# Headers of a single connection, which are not forwarded.
CONNECTION_HEADERS = {"user-agent", "content-type", "te", "accept-encoding", "grpc-accept-encoding"}


class PassOn(grpc.GenericRpcHandler):
    """Forwards calls of any method to the backend, without decoding messages."""

    def __init__(self, backend):
        self.backend = backend

    def service(self, details):
        method = details.method
        extra = LOW_API_VERSION_2_0 if method.endswith("/GetCapabilities") else b""

        def serve(requests, context):
            headers = [
                (key, value)
                for key, value in context.invocation_metadata()
                if key not in CONNECTION_HEADERS and not key.startswith(":")
            ]
            call = self.backend.stream_stream(method)(requests, metadata=headers)
            context.add_callback(call.cancel)
            try:
                for message in call:
                    yield message + extra
                context.set_trailing_metadata(call.trailing_metadata() or ())
            except grpc.RpcError as error:
                context.set_trailing_metadata(error.trailing_metadata() or ())
                context.abort(error.code(), error.details())

        return grpc.stream_stream_rpc_method_handler(serve)


def start_casd(binaries, state, socket):
    (state / "cas").mkdir(exist_ok=True)
    command = [
        # Terminated when this process ends for any reason.
        *["setpriv", "--pdeathsig", "TERM"],
        f"{binaries}/buildbox-casd",
        f"--bind={socket}",
        f"--buildbox-run={binaries}/buildbox-run-hosttools",
        f"--jobs={os.cpu_count()}",
        "--log-level=warning",
        str(state / "cas"),
    ]
    # Actions inherit this environment, so it contains nothing that depends on the machine.
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(state)}
    return subprocess.Popen(command, env=environment)


def main():
    binaries, state, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # A socket's path is limited to 107 bytes, which may be too few for a path in DIR.
    with tempfile.TemporaryDirectory() as folder:
        socket = f"unix:{folder}/casd.sock"
        casd = start_casd(binaries, state, socket)
        # Each running action occupies a call, and so a thread.
        server = grpc.server(futures.ThreadPoolExecutor(256), options=OPTIONS)
        try:
            backend = grpc.insecure_channel(socket, OPTIONS)
            grpc.channel_ready_future(backend).result(timeout=30)
            server.add_generic_rpc_handlers([PassOn(backend)])
            port = server.add_insecure_port(f"127.0.0.1:{port}")
            server.start()
            (state / "address.new").write_text(f"grpc://127.0.0.1:{port}\n")
            (state / "address.new").rename(state / "address")
            server.wait_for_termination()
        finally:
            server.stop(grace=0)
            casd.terminate()
            try:
                casd.wait(timeout=10)
            except subprocess.TimeoutExpired:  # it is waiting for an action
                casd.kill()


main()

"""A real registry for the rows about images, and a slow way to it: what is pulled takes some seconds, so that a busy
driver can cancel it in the middle."""

import contextlib
import gzip
import hashlib
import io
import json
import pathlib
import platform
import random
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
import time

# The layer does not compress, and is not in any other image.
LAYER_BYTES = 1 << 20
STEP_BYTES, STEP_SECONDS = 32 << 10, 0.12
PATIENCE = 60
TRIES = 3


@contextlib.contextmanager
def running():
    """Gives the address of the slow way to a registry that has the image `slow:1`."""
    with tempfile.TemporaryDirectory(prefix="boxlite-registry-") as dir:
        dir = pathlib.Path(dir)
        server, port = start(dir)
        try:
            make_image(dir / "image")
            subprocess.run(["skopeo", "copy", "--insecure-policy", "--quiet", "--dest-tls-verify=false",
                            f"oci:{dir}/image", f"docker://127.0.0.1:{port}/slow:1"], check=True)
            with socket.create_server(("127.0.0.1", 0)) as listener:
                threading.Thread(target=serve, args=(listener, port), daemon=True).start()
                yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.kill()
            server.wait()


def start(dir):
    """Starts the registry: its process and its port. The port that was free may be somebody else's by then."""
    program = shutil.which("docker-registry") or "docker-registry"
    for _ in range(TRIES):
        port = free_port()
        (dir / "config.yml").write_text(
            f"version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {dir}/storage\n"
            f"http:\n  addr: 127.0.0.1:{port}\n")
        with open(dir / "log", "a") as log:
            server = subprocess.Popen([program, "serve", dir / "config.yml"], stdout=log, stderr=log)
        if comes_up(server, port):
            return server, port
        server.kill()
        server.wait()
    raise RuntimeError(f"docker-registry did not come up: {(dir / 'log').read_text()}")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def comes_up(server, port):
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            # Whoever else listens there keeps the registry from it, which ends.
            time.sleep(0.2)
            return server.poll() is None
        time.sleep(0.02)
    return False


def serve(listener, port):
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        upstream = socket.create_connection(("127.0.0.1", port))
        threading.Thread(target=pump, args=(client, upstream, 0), daemon=True).start()
        threading.Thread(target=pump, args=(upstream, client, STEP_SECONDS), daemon=True).start()


def pump(source, sink, pause):
    """Passes bytes on, with a pause after each step; a side that goes away ends both."""
    with contextlib.suppress(OSError):
        while data := source.recv(STEP_BYTES):
            sink.sendall(data)
            time.sleep(pause)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def make_image(dir):
    """An OCI layout with one layer: a file of random bytes."""
    blobs = dir / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(data, media_type):
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{name}", "size": len(data)}

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("random")
        entry.size = LAYER_BYTES
        tar.addfile(entry, io.BytesIO(random.Random(LAYER_BYTES).randbytes(LAYER_BYTES)))
    layer = blob(gzip.compress(archive.getvalue(), 1, mtime=0), "layer.v1.tar+gzip")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    diff_id = "sha256:" + hashlib.sha256(archive.getvalue()).hexdigest()
    config = blob(json.dumps({"architecture": machine, "os": "linux", "config": {},
                              "rootfs": {"type": "layers", "diff_ids": [diff_id]}}).encode(), "config.v1+json")
    manifest = blob(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                                "config": config, "layers": [layer]}).encode(), "manifest.v1+json")
    (dir / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (dir / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

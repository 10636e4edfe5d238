"""Runs in the lab: the same two things with boxlite 0.9.7 (its Python wheel) and with this tree, one after the other.

`fork_exec` is what the guest itself takes to start a program: a shell's twenty, less its none. `start` is create -> first output of a first command in a new home, from a local OCI layout; `again` is the same with
the next box of that home; `exec` is a command on a running box, start to result. Prints one line of JSON with every
time in seconds and the ratios of the medians (ours to theirs). Usage:
compare.py LAYOUT LIBRARY WHEEL_DIR BASE_LAYOUT ROUNDS EXECS; BASE_LAYOUT is what the peer gets when it pulls the base
of its own guests, since there is no network here.
"""

import asyncio
import ctypes
import http.server
import json
import os
import statistics
import sys
import tempfile
import threading
import time

LAYOUT, LIBRARY, WHEEL, BASE = sys.argv[1:5]
ROUNDS, EXECS = int(sys.argv[5]), int(sys.argv[6])


class Registry(http.server.BaseHTTPRequestHandler):
    """A registry that has one image, under every name and tag."""

    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        if "/manifests/" in self.path and not name.startswith("sha256:"):
            with open(f"{BASE}/index.json") as index:
                name = json.load(index)["manifests"][0]["digest"]
        path = f"{BASE}/blobs/{name.replace(':', '/')}"
        body = open(path, "rb").read() if os.path.isfile(path) else b"{}"
        kind = "application/vnd.oci.image.manifest.v1+json" if "/manifests/" in self.path else "application/octet-stream"
        self.send_response(200 if os.path.isfile(path) or self.path == "/v2/" else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Content-Digest", name)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


class Ours:
    """This tree through its C API: the calls of a small program, no more."""

    def __init__(self):
        os.environ["BOXLITE_HOME"] = tempfile.mkdtemp()
        self.lib = ctypes.CDLL(LIBRARY)
        for name in ("error_message", "exec_result_stdout", "box_id", "info_engine"):
            getattr(self.lib, "boxlite_" + name).restype = ctypes.c_char_p
        self.runtime = self.make("runtime_new", None)

    def call(self, name, *args):
        error = ctypes.c_void_p()
        if getattr(self.lib, "boxlite_" + name)(*args, ctypes.byref(error)):
            raise RuntimeError(f"{name}: {self.lib.boxlite_error_message(error).decode()}")

    def make(self, name, *args):
        made = ctypes.c_void_p()
        self.call(name, *args, ctypes.byref(made))
        return made

    async def create(self):
        options = self.make("box_options_new")
        self.call("box_options_set_image", options, b"oci:" + LAYOUT.encode())
        return self.make("create", self.runtime, options, None, None)

    async def run(self, box, *words):
        command = self.make("command_new", words[0].encode())
        arguments = (ctypes.c_char_p * len(words[1:]))(*(word.encode() for word in words[1:]))
        self.call("command_add_args", command, arguments, ctypes.c_size_t(len(arguments)))
        result = self.make("exec", box, command, None)
        return self.lib.boxlite_exec_result_stdout(result).decode()

    async def remove(self, box):
        self.call("remove", self.runtime, self.lib.boxlite_box_id(box), 1, None)


class Peer:
    """boxlite 0.9.7, as its own documentation uses it."""

    def __init__(self):
        sys.path.insert(0, WHEEL)
        import boxlite

        self.boxlite = boxlite
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        registry = boxlite.ImageRegistry(host=host, transport="http", search=True)
        options = boxlite.Options(home_dir=tempfile.mkdtemp(), image_registries=[registry])
        self.runtime = boxlite.Boxlite(options)

    async def create(self):
        options = self.boxlite.BoxOptions(rootfs_path=LAYOUT, memory_mib=512, cpus=1, auto_remove=False)
        return await self.runtime.create(options)

    async def run(self, box, *words):
        execution = await box.exec(words[0], list(words[1:]))
        output = "".join([line async for line in execution.stdout()])
        await execution.wait()
        return output

    async def remove(self, box):
        await self.runtime.remove(box.id, force=True)


async def fork_exec(side, box):
    """Seconds for one fork, exec and wait in the guest."""
    took = []
    for count in (0, 20):
        script = f"i=0; while [ $i -lt {count} ]; do /bin/true; i=$((i+1)); done; echo done"
        began = time.monotonic()
        await side.run(box, "sh", "-c", script)
        took.append(time.monotonic() - began)
    return (took[1] - took[0]) / 20


async def measure(kind):
    times = {"start_s": [], "again_s": [], "exec_s": [], "fork_exec_s": []}
    for _ in range(ROUNDS):
        side = kind()
        for name in ("start_s", "again_s"):
            began = time.monotonic()
            box = await side.create()
            output = await side.run(box, "echo", "hello")
            took = time.monotonic() - began
            assert output.strip() == "hello", output
            print(f"{kind.__name__}: {name} {took:.2f}", flush=True)
            times[name].append(round(took, 3))
            for _ in range(EXECS):
                began = time.monotonic()
                await side.run(box, "echo", "hello")
                times["exec_s"].append(round(time.monotonic() - began, 4))
            times["fork_exec_s"].append(round(await fork_exec(side, box), 4))
            await side.remove(box)
    return times


async def main():
    result = {"rounds": ROUNDS}
    for kind in (Ours, Peer):
        try:
            result[kind.__name__.lower()] = await measure(kind)
        except Exception as error:  # what happened is a result, too
            result[kind.__name__.lower()] = {"failed": f"{type(error).__name__}: {error}"}
    for key in ("start", "again", "exec", "fork_exec"):
        both = [result[side].get(key + "_s") for side in ("ours", "peer")]
        if all(both):
            ours, peer = map(statistics.median, both)
            result[key + "_ratio"] = round(ours / peer, 4)
    print("result: " + json.dumps(result), flush=True)
    # The peer's threads would end the interpreter with an abort.
    os._exit(0 if "exec_ratio" in result else 1)


asyncio.run(main())

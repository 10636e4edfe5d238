#!/usr/bin/env python3
"""Runs the rows of table.json through drivers in several languages, and compares what each saw with what the table
expects and with what the others saw. All judgement is here: drivers only perform and report (README.md).

    compare.py --image IMAGE [--templates DIR] [--rows TEXT] [--rounds WARM,COUNT] NAME=PROGRAM [ARGUMENT...] ; ...

Drivers are separated by `;`. The exit code is 0 when each row has as many ticks as there are drivers.
"""

import argparse
import concurrent.futures
import contextlib
import hashlib
import json
import os
import pathlib
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time

import registry

HERE = pathlib.Path(__file__).resolve().parent
# How long one answer, and a driver's end, may take before it counts as hung.
PATIENCE = 240
# Processes of boxes are gone so long after the driver.
LEAVING = 60
# What is left of a measured round's threads ends within this time.
SETTLING = 15
# How often something may grow over the measured rounds before that is a leak.
TRIES = 3


# Data: text is bytes in Latin-1; what is long is described.

def content(of):
    """The bytes that a description in the table stands for."""
    if isinstance(of, str):
        return of.encode("latin-1")
    if isinstance(of, list):
        return b"".join(content(part) for part in of)
    if "random" in of:
        return random.Random(of["random"]).randbytes(of["random"])[:of.get("first")]
    return b"\0" * of["zeros"]


def digest(data):
    return {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def shown(value):
    """For a person: short texts as they are."""
    return json.dumps(value, ensure_ascii=True, sort_keys=True)


class Mismatch(Exception):
    """What was seen is not what was expected."""


# A driver.

class Driver:
    """One language's program, with a home of its own."""

    def __init__(self, name, argv, settings):
        self.name, self.settings = name, settings
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"boxlite-conformance-{name}-"))
        self.home, self.work = self.dir / "home", self.dir / "work"
        self.home.mkdir()
        self.work.mkdir()
        if settings.templates:
            (self.home / "templates").symlink_to(settings.templates)
        # Spares would come and go beside what is measured.
        environment = dict(os.environ, BOXLITE_SPARES="0", BOXLITE_BOOT_SECONDS=str(PATIENCE))
        self.process = subprocess.Popen(
            [*argv, str(self.home), settings.image, settings.registry],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self.buffer = b""
        self.notes = []

    def ask(self, op, fields):
        """Sends a request, and gives the answer with the outputs in it."""
        outputs = {key: self.work / f"{op}-{key}" for key in ("out", "err")}
        for path in outputs.values():
            path.unlink(missing_ok=True)
        pairs = [*fields, *((key, os.fsencode(path)) for key, path in outputs.items())]
        line = "\t".join([op, *(f"{key}={value.hex()}" for key, value in pairs)])
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Mismatch("the driver has ended") from None
        answer = self.read_answer()
        for key, path in outputs.items():
            if path.exists():
                answer[key] = path.read_bytes()
        return answer

    def read_answer(self):
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            chunk = os.read(self.process.stdout.fileno(), 65536) if ready else None
            if chunk is None:
                self.process.kill()
                raise Mismatch(f"no answer within {PATIENCE} s")
            if not chunk:
                raise Mismatch("the driver has ended")
            self.buffer += chunk
        line, self.buffer = self.buffer.split(b"\n", 1)
        try:
            answer = json.loads(line)
        except ValueError:
            raise Mismatch(f"no JSON: {line[:200]!r}") from None
        if not isinstance(answer, dict):
            raise Mismatch(f"no object: {line[:200]!r}")
        return answer

    def end(self):
        """Ends the driver; what is wrong with its end, if anything."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = "none: it was killed"
        left = at_work(self.home)
        deadline = time.monotonic() + LEAVING
        while left and time.monotonic() < deadline:
            # Boxes of an owner that died go by themselves, and one that was killed takes a moment to go.
            time.sleep(0.1)
            left = at_work(self.home)
        shutil.rmtree(self.dir, ignore_errors=True)
        if status != 0:
            return f"the driver ended with status {status}"
        return f"processes of its boxes are left: {left}" if left else None


def at_work(home):
    """Processes of a home's boxes, whose working directory is their box's."""
    pids = []
    for link in pathlib.Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if os.readlink(link).startswith(f"{home}/"):
                pids.append(link.parent.name)
    return pids


# A row.

def field_value(driver, key, value):
    if key == "input":
        path = driver.work / "input"
        path.write_bytes(content(value))
        return os.fsencode(path)
    text = value if isinstance(value, str) else str(value)
    text = text.replace("@work", str(driver.work)).replace("@registry", driver.settings.registry)
    return text.encode("latin-1")


def perform(driver, step, defaults):
    """Performs one step, and gives what was seen; raises what is wrong with it."""
    if step["op"] in ("make_files", "check_files"):
        return on_host(driver, step)
    if step["op"] == "leaks":
        return leaks(driver, step)
    fields = []
    for key, value in step.items():
        if key not in ("op", "see"):
            for one in value if isinstance(value, list) and key != "input" else [value]:
                fields.append((key, field_value(driver, key, one)))
    answer = driver.ask(step["op"], fields)
    expected = dict(step.get("see", {}))
    if "error" not in expected:
        expected = {**defaults.get(step["op"], {}), **expected}
    expected = {key: value for key, value in expected.items() if value is not None}
    for key in ("out", "err"):
        if key in expected and not is_range(expected[key]):
            expected[key] = content(expected[key])
    compare(answer, expected)
    # Where the table leaves room the languages may differ in it.
    return {key: digest(value) if isinstance(value, bytes) else value
            for key, value in sorted(answer.items()) if not is_range(expected.get(key))}


def is_range(expected):
    return isinstance(expected, dict) and "less_than" in expected


def compare(answer, expected):
    for key in sorted({*answer, *expected}):
        got, wanted = answer.get(key), expected.get(key)
        if is_range(wanted):
            length = len(got) if isinstance(got, bytes) else got or 0
            if not length < wanted["less_than"]:
                raise Mismatch(f"{key} is {length}, not less than {wanted['less_than']}")
        elif got != wanted:
            raise Mismatch(f"{key} is {abridged(got)}, not {abridged(wanted)} in {abridged(answer)}")


def abridged(value):
    if isinstance(value, bytes):
        return repr(value) if len(value) <= 200 else f"{value[:40]!r}... {shown(digest(value))}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {abridged(one)}" for key, one in value.items()) + "}"
    return shown(value)


def on_host(driver, step):
    """What happens on the host between two requests."""
    path = pathlib.Path(os.fsdecode(field_value(driver, "path", step["path"])))
    files = {name.encode("latin-1"): content(data) for name, data in step["files"].items()}
    if step["op"] == "make_files":
        for name, data in files.items():
            file = os.path.join(os.fsencode(path), name)
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "wb") as out:
                out.write(data)
        return {}
    found = {}
    for dir, _, names in os.walk(os.fsencode(path)):
        for name in names:
            file = os.path.join(dir, name)
            with open(file, "rb") as data:
                found[os.path.relpath(file, os.fsencode(path))] = data.read()
    if found != files:
        raise Mismatch(f"{path} holds {abridged(found)}, not {abridged(files)}")
    return {}


def leaks(driver, step):
    """Rounds of one command, and what they leave in the driver's process."""
    warm_up, count = driver.settings.rounds
    command = [("arg", arg.encode("latin-1")) for arg in step["arg"]]

    def rounds(how_many):
        compare(driver.ask("rounds", [*command, ("count", str(how_many).encode())]), {"failed": 0})

    def measured():
        answer = driver.ask("measure", [])
        if not answer.get("descriptors") or not answer.get("threads") or not answer.get("resident_kib"):
            raise Mismatch(f"measured nothing: {shown(answer)}")
        return answer

    def steady():
        """Measured when it does not change any more: what the rounds' own work left ends when it has had none for long."""
        deadline, same, last = time.monotonic() + SETTLING, 0, measured()
        while same < 4 and time.monotonic() < deadline:
            time.sleep(0.5)
            now = measured()
            same = same + 1 if all(now[key] == last[key] for key in ("descriptors", "threads")) else 0
            last = now
        return last

    rounds(warm_up)
    before = steady()
    for _ in range(TRIES):
        rounds(count)
        after = steady()
        grown = {key: after[key] - before[key] for key in before}
        driver.notes.append(f"{count} rounds: {before['descriptors']}{grown['descriptors']:+} descriptors, "
                            f"{before['threads']}{grown['threads']:+} threads, {grown['resident_kib']:+} KiB")
        limits = {"descriptors": 0, "threads": 0, "resident_kib": step["growth_kib"].get(driver.name, 0)}
        if all(grown[key] <= limits[key] for key in limits):
            return {}
        # A pool may have met its largest crowd only now; a leak goes on.
        before = after
    raise Mismatch(f"it grows in each {count} rounds: " + "; ".join(driver.notes))


# The table.

def run_driver(name, argv, table, settings):
    """All rows through one driver: what was seen or what is wrong, by row; notes; what is wrong with its end."""
    driver = Driver(name, argv, settings)
    results, seconds = {}, {}
    try:
        for row in table["rows"]:
            start = time.monotonic()
            try:
                results[row["name"]] = [perform(driver, step, table["defaults"]) for step in row["do"]]
            except Mismatch as wrong:
                results[row["name"]] = wrong
            seconds[row["name"]] = time.monotonic() - start
    finally:
        wrong_end = driver.end()
    return results, seconds, driver.notes, wrong_end


def judge(rows, all_results):
    """Which rows have failed in which languages, and why."""
    failures = []
    for row in rows:
        seen = {}
        for name, results in all_results.items():
            result = results.get(row, Mismatch("was skipped"))
            if isinstance(result, Mismatch):
                failures.append((row, name, str(result)))
            else:
                seen[name] = result
        for name, result in list(seen.items())[1:]:
            first = next(iter(seen))
            if result != seen[first]:
                failures.append((row, name, f"saw {shown(result)}, but {first} saw {shown(seen[first])}"))
    return failures


def print_table(rows, all_results, failures):
    failed = {(row, name) for row, name, _ in failures}
    width = max(map(len, rows))
    print(f"{'':{width}}  " + "  ".join(all_results))
    for row in rows:
        print(f"{row:{width}}  " + "  ".join(
            f"{'✗' if (row, name) in failed else '✓':^{len(name)}}" for name in all_results))


def prove(table, settings):
    """That this program can fail: a driver that answers "success, empty" must not get a tick."""
    rows = [row["name"] for row in table["rows"]]
    results, _, _, wrong_end = run_driver("empty", [sys.executable, str(HERE / "empty.py")], table, settings)
    passed = set(rows) - {row for row, _, _ in judge(rows, {"empty": results})}
    assert not passed, f"a driver that does nothing passes {sorted(passed)}"
    assert wrong_end is None, wrong_end
    one, other = {"a row": [{"exit": 0}]}, {"a row": [{"exit": 1}]}
    assert judge(["a row"], {"one": one, "other": other}), "two that differ pass"
    assert judge(["a row"], {"one": one, "other": {}}), "a row that was skipped passes"
    assert not judge(["a row"], {"one": one, "other": one}), "two that agree fail"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", required=True)
    parser.add_argument("--templates")
    parser.add_argument("--rows", default="", help="only rows with this text in their names")
    parser.add_argument("--rounds", default="100,300", help="of the row about leaks: warm-up, measured")
    parser.add_argument("--jobs", type=int, default=3, help="how many drivers run at a time")
    parser.add_argument("drivers", nargs=argparse.REMAINDER)
    settings = parser.parse_args()
    settings.rounds = [int(number) for number in settings.rounds.split(",")]
    sys.stdout.reconfigure(encoding="utf-8")
    with open(HERE / "table.json", encoding="utf-8") as file:
        table = json.load(file)
    table["rows"] = [row for row in table["rows"] if settings.rows in row["name"]]
    rows = [row["name"] for row in table["rows"]]
    if not rows:
        sys.exit(f"no row has {settings.rows!r} in its name")
    drivers, words = {}, settings.drivers
    while words:
        end = words.index(";") if ";" in words else len(words)
        name, program = words[0].split("=", 1)
        drivers[name] = [program, *words[1:end]]
        words = words[end + 1:]

    with registry.running() as settings.registry, concurrent.futures.ThreadPoolExecutor(settings.jobs) as pool:
        prove(table, settings)
        futures = {name: pool.submit(run_driver, name, argv, table, settings) for name, argv in drivers.items()}
        done = {name: future.result() for name, future in futures.items()}
    all_results = {name: results for name, (results, _, _, _) in done.items()}
    failures = judge(rows, all_results)
    print_table(rows, all_results, failures)
    for name, (_, seconds, notes, _) in done.items():
        slowest = sorted(seconds.items(), key=lambda item: -item[1])[:3]
        told = [f"{name}: {sum(seconds.values()):.1f} s", *notes]
        told.append("longest: " + ", ".join(f"{row} {took:.1f} s" for row, took in slowest))
        print("; ".join(told))
    for row, name, why in failures:
        print(f"FAILED: {row}: {name}: {why}")
    ends = [(name, end) for name, (_, _, _, end) in done.items() if end is not None]
    for name, end in ends:
        print(f"FAILED: {name}: {end}")
    sys.exit(1 if failures or ends else 0)


if __name__ == "__main__":
    main()

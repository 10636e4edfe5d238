"""Makes start.md and start.png beside the start.json of benches/start.rs."""

import json
import pathlib
import statistics
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

path = pathlib.Path(sys.argv[1])
data = json.loads(path.read_text())
times = data["times_s"]
PAIRS = [
    ("create → first output → removed (spare)", "run_spare", "run_podman_beside_spare", "podman run --rm"),
    (
        "create → first output → removed (spare of another image)",
        "run_spare_other_image",
        "run_podman_beside_other_image",
        "podman run --rm",
    ),
    ("create → first output → removed (template clone)", "run_clone", "run_podman", "podman run --rm"),
    ("`true` on a running box", "exec", "exec_podman", "podman exec"),
    ("20 boxes one after another", "twenty", "twenty_podman", "podman, 20"),
    ("256 MB of stdout", "stdout", "stdout_podman", "podman run, piped"),
]


def p95(values):
    return sorted(values)[min(len(values) - 1, len(values) * 95 // 100)]


def ms(seconds):
    return f"{seconds * 1e3:,.1f}"


lines = ["| | boxlite, median (p95), ms | against | median (p95), ms | ratio |", "|---|---|---|---|---|"]
for text, ours, theirs, name in PAIRS:
    one, other = times[ours], times[theirs]
    ratio = statistics.median(one) / statistics.median(other)
    lines.append(
        f"| {text} | {ms(statistics.median(one))} ({ms(p95(one))}) | {name} "
        f"| {ms(statistics.median(other))} ({ms(p95(other))}) | {ratio:.2f} |"
    )
fork = statistics.median(times["fork_exec"])
lines.append(
    f"| `true` on a running box, many in a row | {ms(statistics.median(times['exec_in_a_row']))} | fork+exec in the guest | {ms(fork)} "
    f"| {data['exec_vs_fork_ratio']:.2f} |"
)
if "exec_from_c" in times:
    calls = times["exec_from_c"]
    lines.append(f"| `true` on a running box, `boxlite_exec` from C | {ms(statistics.median(calls))} ({ms(p95(calls))}) | – | – | – |")
lines.append(f"| cold boot → first output → removed | {ms(statistics.median(times['cold']))} | – | – | – |")
idle = data["idle"]
lines += [
    "",
    f"Idle boxes, {idle['boxes']} at once: {idle['private_mb']:.0f} MB of private memory each, of which "
    f"{idle['of_that_translated_code_mb']:.0f} MB are translated code; {idle['cpu_percent_of_a_core']:.2f} % of a core.",
    "",
    "Machine: " + ", ".join(f"{key} {value}" for key, value in data["machine"].items()) + ".",
]
path.with_suffix(".md").write_text("\n".join(lines) + "\n")
print("\n".join(lines))

figure, axes = plt.subplots(1, 4, figsize=(17, 3.2))
for axis, (text, ours, theirs, name) in zip(axes, PAIRS[:4]):
    both = [[value * 1e3 for value in times[key]] for key in (ours, theirs)]
    axis.boxplot(both, vert=False, widths=0.6)
    axis.set_yticklabels(["boxlite", name])
    axis.set_title(text.replace("`", ""), fontsize=9)
    axis.set_xlabel("ms")
    axis.set_xlim(left=0)
figure.tight_layout()
figure.savefig(path.with_suffix(".png"), dpi=120)

#!/usr/bin/env python3
"""Bootstraps of 10,000 resamples on one thread: scipy and ours, one after the other, and the ratio.

    python3 tests/reference/compare_speed.py

Makes a virtual environment with scipy under the user's cache on its first run. Each method runs a few times in
turns with the other and its fastest run counts, so that a busy machine weighs on both alike. scipy's fastest
method (percentile) is what ours is held against; its default, BCa, is shown beside it for the mean.
"""

import json
import os
import pathlib
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "quality-officer" / "speed"
ROUNDS = 3

SCIPY = r"""
import json, sys, time
import numpy as np
from scipy import stats

def best(function):
    times = []
    for _ in range(3):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)

rng = np.random.default_rng(1)
p95 = lambda x, axis: np.percentile(x, 95, axis=axis)
times = {}
stats.bootstrap((rng.random(100),), np.mean, n_resamples=100, method="percentile")  # what a first call costs extra
for n in (1_000, 10_000):
    x = rng.lognormal(5.3, 0.5, n)
    hits = (np.arange(n) < n // 20).astype(float)
    run = lambda data, statistic, method="percentile": stats.bootstrap(
        (data,), statistic, n_resamples=10_000, method=method, rng=rng, batch=1_000)
    times[f"mean/{n}"] = best(lambda: run(x, np.mean))
    times[f"p95/{n}"] = best(lambda: run(x, p95))
    times[f"proportion/{n}"] = best(lambda: run(hits, np.mean))
    if n == 1_000:
        times[f"mean, BCa/{n}"] = best(lambda: run(x, np.mean, "BCa"))
print(json.dumps(times))
"""


def scipy_python():
    python = CACHE / "bin" / "python"
    if not python.exists():
        venv.create(CACHE, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "scipy==1.17.1"], check=True)
    return python


def ours():
    command = ["cargo", "bench", "--quiet", "-p", "quality-stats", "--bench", "stats", "--", "bootstrap"]
    if len(sys.argv) > 1:  # a built bench, to run without cargo
        command = [sys.argv[1], "--bench", "bootstrap"]
    home = CACHE / "criterion"
    subprocess.run(command, cwd=ROOT, env={**os.environ, "CRITERION_HOME": str(home)}, check=True,
                   stdout=subprocess.DEVNULL)
    times = {}
    for path in (home / "bootstrap_10000_resamples").glob("*/*/new/sample.json"):
        sample = json.loads(path.read_text())
        fastest = min(time / count for time, count in zip(sample["times"], sample["iters"]))
        times[f"{path.parts[-4]}/{path.parts[-3]}"] = fastest / 1e9
    return times


def main():
    python = scipy_python()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    theirs, own = {}, {}
    for _ in range(ROUNDS):
        answer = subprocess.run([python, "-c", SCIPY], env=environment, check=True, capture_output=True, text=True)
        for name, seconds in json.loads(answer.stdout).items():
            theirs[name] = min(seconds, theirs.get(name, seconds))
        for name, seconds in ours().items():
            own[name] = min(seconds, own.get(name, seconds))
    print("| bootstrap / n | scipy | ours | ratio |\n|---|---|---|---|")
    for name, seconds in theirs.items():
        mine = own[name.replace(", BCa", "")]
        print(f"| {name} | {1e3 * seconds:.1f} ms | {1e3 * mine:.3f} ms | {seconds / mine:.0f}× |")


main()

#!/usr/bin/env python3
"""Writes values.json: what scipy, statsmodels, scikit-learn, pytrec-eval-terrier and ranx say.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make_reference.py

tests/reference.rs holds our results against it.
"""

import json
import math
import pathlib

import numpy as np
import pytrec_eval
import ranx
import scipy
import sklearn
import statsmodels
from scipy import special, stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint
from statsmodels.tsa.stattools import acf

rng = np.random.default_rng(20240624)


def proportions():
    cases = []
    for n in (1, 5, 29, 148, 1_000, 100_000, 10_000_000):
        for k in sorted({0, 1, n // 20, n // 3, n - 1, n}):
            cases.append({
                "bad": k,
                "n": n,
                "wilson": proportion_confint(k, n, method="wilson"),
                "clopper_pearson": proportion_confint(k, n, method="beta"),
            })
    return cases


def rates():
    cases = []
    for count in (0, 1, 3, 10, 100, 5_000, 1_000_000):
        low = stats.chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
        cases.append({"count": count, "low": low, "high": stats.chi2.ppf(0.975, 2 * count + 2) / 2})
    return cases


def quantile_ranks():
    return [
        {"n": n, "q": q, "low": int(stats.binom.ppf(0.025, n, q)), "high": int(stats.binom.ppf(0.975, n, q)) + 1}
        for n in (72, 200, 368, 1_000, 25_000, 1_000_000)
        for q in (0.5, 0.95, 0.99)
    ]


def special_functions():
    beta = [
        {"p": p, "a": a, "b": b, "x": stats.beta.ppf(p, a, b)}
        for p in (0.025, 0.5, 0.975)
        for a, b in ((0.5, 0.5), (1, 100), (3, 7), (951, 50), (95_001, 5_000), (9_500_001, 500_000))
    ]
    incomplete = [
        {"a": a, "b": b, "x": x, "p": special.betainc(a, b, x)}
        for a, b, x in (
            (0.5, 0.5, 0.3), (2, 3, 0.9), (951, 50, 0.94), (95_001, 5_000, 0.9512), (950_001, 50_000, 0.95),
            (5_000_001, 5_000_000, 0.5003),
        )
    ]
    gamma = [
        {"p": p, "shape": shape, "x": stats.gamma.ppf(p, shape)}
        for p in (0.025, 0.975)
        for shape in (0.3, 1, 17.5, 1_000, 1e6)
    ]
    student = [
        {"p": p, "freedom": freedom, "t": stats.t.ppf(p, freedom)}
        for p in (0.025, 0.9, 0.975)
        for freedom in (1, 2, 4.5, 30, 1_000)
    ]
    normal = [{"p": p, "z": stats.norm.ppf(p)} for p in (1e-12, 0.001, 0.025, 0.5, 0.9, 0.999_999)]
    return {"beta": beta, "incomplete": incomplete, "gamma": gamma, "student": student, "normal": normal}


def bootstraps():
    cases = []
    for name, x in (("exponential", rng.exponential(2.0, 60)), ("lognormal", rng.lognormal(0.0, 0.5, 300))):
        x = np.round(x, 6)
        result = stats.bootstrap((x,), np.mean, n_resamples=200_000, method="BCa", rng=rng, batch=2_000)
        cases.append({"name": name, "x": x.tolist(), "mean": list(result.confidence_interval)})
    top = np.round(rng.gamma(3.0, 1.0, 80), 6)
    bottom = np.round(top * rng.uniform(0.5, 1.5, 80) + 1.0, 6)
    result = stats.bootstrap(
        (top, bottom), lambda a, b, axis=-1: a.sum(axis) / b.sum(axis), n_resamples=100_000, method="BCa",
        paired=True, vectorized=True, rng=rng, batch=2_000,
    )
    ratio = {"top": top.tolist(), "bottom": bottom.tolist(), "ratio": list(result.confidence_interval)}
    return {"means": cases, "ratio": ratio}


def correlations():
    cases = []
    for n, r in ((15, 0.8), (60, 0.3), (400, -0.9)):
        x = np.round(rng.normal(size=n), 3)
        y = np.round(r * x + math.sqrt(1 - r * r) * rng.normal(size=n), 1)
        pearson = stats.pearsonr(x, y)
        spearman = stats.spearmanr(x, y).statistic
        half = 1.959963984540054 * math.sqrt((1 + spearman**2 / 2) / (n - 3))
        a, b = acf(x, nlags=1)[1], acf(y, nlags=1)[1]
        cases.append({
            "x": x.tolist(), "y": y.tolist(),
            "pearson": pearson.statistic, "pearson_ci": list(pearson.confidence_interval()),
            "spearman": spearman,
            "spearman_ci": [math.tanh(math.atanh(spearman) - half), math.tanh(math.atanh(spearman) + half)],
            "lag1": [a, b],
        })
    return cases


def areas():
    cases = []
    for m, n in ((12, 17), (150, 90)):
        positives = np.round(rng.normal(0.8, 1.0, m), 1)
        negatives = np.round(rng.normal(0.0, 1.0, n), 1)
        auc = roc_auc_score([1] * m + [0] * n, np.concatenate([positives, negatives]))
        # DeLong's structural components, pair by pair.
        psi = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
        variance = psi.mean(1).var(ddof=1) / m + psi.mean(0).var(ddof=1) / n
        logit, half = special.logit(auc), 1.959963984540054 * math.sqrt(variance) / (auc * (1 - auc))
        cases.append({
            "positives": positives.tolist(), "negatives": negatives.tolist(), "auc": auc,
            "ci": [special.expit(logit - half), special.expit(logit + half)],
        })
    return cases


def rankings():
    cases = []
    for query in range(12):
        documents = [f"d{i:02d}" for i in range(25)]
        scores = np.round(rng.normal(size=25), 1)  # ties on purpose
        judged = {d: int(g) for d, g in zip(documents, rng.integers(0, 4, 25)) if rng.random() < 0.6}
        judged["d99"] = 3  # relevant and never retrieved
        run = {d: float(s) for d, s in zip(documents, scores)}
        trec = pytrec_eval.RelevanceEvaluator({"q": judged}, {"ndcg_cut.10"}).evaluate({"q": run})
        # ranx breaks ties in its own way: give it the order that trec_eval uses.
        order = sorted(run, key=lambda d: (run[d], d), reverse=True)
        ordered = ranx.Run({"q": {d: float(len(order) - i) for i, d in enumerate(order)}})
        qrels = ranx.Qrels({"q": judged})
        cases.append({
            "run": run, "judged": judged, "linear": trec["q"]["ndcg_cut_10"],
            "ranx_linear": float(ranx.evaluate(qrels, ordered, "ndcg@10")),
            "exponential": float(ranx.evaluate(qrels, ordered, "ndcg_burges@10")),
        })
    return cases


def calibrations():
    p = np.round(rng.uniform(0.02, 0.98, 1_500), 4)
    hit = rng.random(1_500) < np.clip(p - 0.05, 0, 1)
    observed, confidence = calibration_curve(hit, p, n_bins=15, strategy="uniform")
    index = np.clip(np.ceil(p * 15).astype(int), 1, 15) - 1
    counts = np.bincount(index, minlength=15)
    counts = counts[counts > 0]
    ece = float(np.sum(counts * np.abs(observed - confidence)) / counts.sum())
    return {
        "confidence": p.tolist(), "correct": hit.tolist(), "ece": ece,
        "curve": [[float(c), float(o)] for c, o in zip(confidence, observed)],
    }


def trends():
    cases = []
    for n in (4, 7, 12, 30):
        x = rng.permutation(n) + 0.01 * np.arange(n)
        tau = stats.kendalltau(np.arange(n), x, method="exact")
        cases.append({
            "x": x.tolist(), "tau": tau.statistic, "p_two_sided": tau.pvalue,
            "slope": float(stats.theilslopes(x, np.arange(n)).slope),
        })
    return cases


def recoveries():
    x = np.round(rng.lognormal(1.0, 0.4, 9), 3)
    logs = np.log(x)
    low, high = stats.t.interval(0.95, 8, logs.mean(), stats.sem(logs))
    return {"x": x.tolist(), "value": stats.gmean(x), "ci": [math.exp(low), math.exp(high)]}


def detectors():
    """The e-SR recursion, in plain arithmetic."""
    cases = []
    for p0, effect in ((0.01, 1.0), (0.05, 1.0), (0.05, 3.5)):
        looks = [(int(n), int(rng.binomial(n, 1.4 * p0))) for n in rng.poisson(300, 40)]
        r = [0.0] * 6
        evidence = []
        size, square = 0.0, 0.0
        for n, bad in looks:
            size, square = size + n, square + n * n
            typical = square / size
            weight = min(1.0, effect / (1 + (effect - 1) * n / typical))
            mixed, total = 0.0, 0.0
            weights = (0.1, 0.2, 0.3, 0.2, 0.1, 0.1)
            for k, ratio in enumerate((1.25, 1.5, 2.0, 3.0, 5.0, 10.0)):
                if ratio * p0 >= 1:
                    continue
                odds = ratio * (1 - p0) / (1 - ratio * p0)
                tilt = odds * effect / (1 + odds * (effect - 1))
                plain = math.log(1 + p0 * (tilt - 1))
                variance = (effect - 1) * (1 - p0) / p0
                cumulant = plain if effect == 1.0 else -math.log(1 - variance * plain) / variance
                r[k] = (r[k] + 1) * math.exp(weight * (bad * math.log(tilt) - n * cumulant))
                mixed, total = mixed + weights[k] * r[k], total + weights[k]
            evidence.append(mixed / total)
        cases.append({"p0": p0, "effect": effect, "looks": looks, "evidence": evidence})
    return cases


values = {
    "made_with": {
        "scipy": scipy.__version__, "statsmodels": statsmodels.__version__, "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    },
    "proportions": proportions(), "rates": rates(), "quantile_ranks": quantile_ranks(),
    "special": special_functions(), "bootstraps": bootstraps(), "correlations": correlations(), "areas": areas(),
    "rankings": rankings(), "calibration": calibrations(), "trends": trends(), "recovery": recoveries(),
    "detectors": detectors(),
}
path = pathlib.Path(__file__).with_name("values.json")
path.write_text(json.dumps(values, default=float) + "\n")

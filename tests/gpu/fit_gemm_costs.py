#!/usr/bin/env python3
"""fit_gemm_costs.py FILE... [--write]: fits the costs of sm90's tile shapes to the lines
`fit TILE STEPS WAVES none|sum|narrow_sum|gelu US WHAT` of `gemm_bench tiles` and `bench_convolution.py --tiles`, and prints the
table of kernels/cuda/gemm/choose_tile.cpp with them (--write: puts it there), and what choosing by them loses against
the fastest shape of each product. A shape that is timed is chosen from then on; others keep what they have. Needs numpy.

Costs are first those of least squares, where times near a product's best count most, then moved in small random steps,
the same in every run, as long as less time is lost by choosing and the times near the best are met as well.
"""
import argparse
import collections
import fileinput
import pathlib
import re

import numpy

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "kernels/cuda/gemm/choose_tile.cpp"
ROW = re.compile(r"^(    \{TileKernel::\w+(?:, \d+){5}, )\{([^}]*)\}(\},)$")
COSTS = 7  # of TileCost
LEAST_TIMES = 8
STEPS = 20000
CLOSE = 0.03  # shapes whose predictions differ by less may change places
ERROR_WEIGHT = 0.3  # of the mean error of the times up to twice the best, beside the mean loss of choosing


def terms(steps, waves, behind):
    """What start, chain, wave, step, sum, narrow_sum and gelu of TileCost are multiplied by."""
    more = max(0.0, waves - 1)
    return [1.0, steps, more, more * steps, *(waves * (behind == name) for name in ("sum", "narrow_sum", "gelu"))]


def least_squares(matrix, values):
    """Non-negative."""
    free = list(range(matrix.shape[1]))
    while True:
        found, *_ = numpy.linalg.lstsq(matrix[:, free], values, rcond=None)
        if found.min() >= 0:
            break
        del free[found.argmin()]
    result = numpy.zeros(matrix.shape[1])
    result[free] = found
    return result


class Times:
    """Of products (rows) in tile shapes (columns): `us`, infinite where a shape was not timed, and their terms."""

    def __init__(self, lines, tiles):
        found = collections.defaultdict(dict)
        for line in lines:
            if line.startswith("fit "):
                _, tile, steps, waves, behind, us, what = line.split(maxsplit=6)
                found[what.strip()][int(tile)] = float(us), terms(float(steps), float(waves), behind)
        self.names = list(found)
        if max((max(times) for times in found.values()), default=-1) >= tiles:
            raise SystemExit(f"times of more than the {tiles} tile shapes in {SOURCE}: build the bench from this source")
        self.us = numpy.full((len(found), tiles), numpy.inf)
        self.terms = numpy.zeros((len(found), tiles, COSTS))
        for i, times in enumerate(found.values()):
            for tile, (us, factors) in times.items():
                self.us[i, tile], self.terms[i, tile] = us, factors
        self.best = self.us.min(axis=1)

    def predict(self, costs):
        return numpy.where(numpy.isfinite(self.us), numpy.einsum("ptf,tf->pt", self.terms, costs), numpy.inf)

    def losses(self, costs):
        """Relative, by product, and the shape that is chosen."""
        chosen = self.predict(costs).argmin(axis=1)
        return self.us[numpy.arange(len(self.us)), chosen] / self.best - 1, chosen

    def objective(self, costs):
        predicted, timed = self.predict(costs), numpy.isfinite(self.us)
        us = numpy.where(timed, self.us, 1.0)
        near = timed & (us < 2 * self.best[:, None])
        far_off = numpy.where(timed, predicted / predicted.min(axis=1, keepdims=True) - 1, numpy.inf)
        odds = numpy.exp(-far_off / CLOSE)
        loss = (odds * numpy.where(timed, us / self.best[:, None] - 1, 0)).sum(axis=1) / odds.sum(axis=1)
        errors = numpy.abs(numpy.where(near, predicted, us) / us - 1).sum() / near.sum()
        return loss.mean() + ERROR_WEIGHT * errors


def fit(times, costs):
    """Costs of the shapes that were timed; `costs` of the others."""
    timed = [tile for tile in range(len(costs)) if numpy.isfinite(times.us[:, tile]).sum() >= LEAST_TIMES]
    for tile in timed:
        rows = numpy.isfinite(times.us[:, tile])
        us = times.us[rows, tile]
        weights = numpy.minimum(1, 1.5 * times.best[rows] / us) ** 2
        costs[tile] = least_squares(times.terms[rows, tile] * (weights / us)[:, None], weights)
    random, start, least = numpy.random.default_rng(0), costs.copy(), times.objective(costs)
    for _ in range(STEPS if timed else 0):
        tile, cost = random.choice(timed), random.integers(costs.shape[1])
        tried = costs.copy()
        tried[tile, cost] = tried[tile, cost] * numpy.exp(0.1 * random.normal()) + max(0, 0.005 * random.normal())
        if not 0.6 * start[tile, cost] - 0.05 <= tried[tile, cost] <= 1.6 * start[tile, cost] + 0.15:
            continue
        if (value := times.objective(tried)) < least:
            costs, least = tried, value
    return costs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    text = SOURCE.read_text().splitlines()
    rows = [(i, match) for i, line in enumerate(text) if (match := ROW.match(line))]
    costs = numpy.zeros((len(rows), COSTS))
    for tile, (_, match) in enumerate(rows):
        before = [float(x.rstrip("f")) for x in match[2].split(",") if x.strip()]
        costs[tile, : len(before)] = before
    with fileinput.input(arguments.files) as lines:
        times = Times(lines, len(rows))
    costs = fit(times, costs)
    for tile, (i, match) in enumerate(rows):
        text[i] = match[1] + "{" + ", ".join(f"{x:.3f}f" for x in costs[tile]) + "}" + match[3]
        print(text[i])

    losses, chosen = times.losses(costs)
    for name, us, tile, loss in zip(times.names, times.us, chosen, losses):
        print(f"{name}: {tile} takes {us[tile]:.1f} us; fastest: {us.argmin()}, {us.min():.1f}" + (" <--" if loss > 0.05 else ""))
    print(f"{len(losses)} products: {losses.mean():.1%} lost on average, {losses.max():.1%} at most")
    if arguments.write:
        SOURCE.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()

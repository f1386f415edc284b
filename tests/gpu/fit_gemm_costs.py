#!/usr/bin/env python3
"""fit_gemm_costs.py FILE... [--write]: fits the costs of sm90's tile shapes to the lines `fit TILE STEPS WAVES US WHAT` of
`gemm_bench tiles` and `bench_convolution.py --tiles`, and prints the table of kernels/cuda/gemm/choose_tile.cpp with them
(--write: puts it there), and what choosing by them loses against the fastest shape of each product. A shape that is
timed is chosen from then on; those without four times keep what they have.
"""
import argparse
import collections
import fileinput
import pathlib
import re

import numpy

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "kernels/cuda/gemm/choose_tile.cpp"
ROW = re.compile(r"^(    \{TileKernel::\w+(?:, \d+){5}, )\{([^}]*)\}(\},)$")


def terms(steps, waves):
    """What start, chain, wave and step are multiplied by."""
    return numpy.array([1.0, steps, waves, waves * steps])


def fit(samples):
    """Non-negative costs with the least squares of relative errors."""
    matrix = numpy.array([terms(steps, waves) / us for steps, waves, us in samples])
    free = list(range(4))
    while True:
        values, *_ = numpy.linalg.lstsq(matrix[:, free], numpy.ones(len(samples)), rcond=None)
        if values.min() >= 0:
            break
        del free[values.argmin()]
    costs = numpy.zeros(4)
    costs[free] = values
    return costs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    samples, products = collections.defaultdict(list), collections.defaultdict(dict)
    with fileinput.input(arguments.files) as lines:
        for line in lines:
            if not line.startswith("fit "):
                continue
            _, tile, steps, waves, us, what = line.split(maxsplit=5)
            sample = float(steps), float(waves), float(us)
            samples[int(tile)].append(sample)
            products[what.strip()][int(tile)] = sample

    text, costs = SOURCE.read_text().splitlines(), []
    for i, line in enumerate(text):
        row = ROW.match(line)
        if not row:
            continue
        tile, before = len(costs), [float(x.rstrip("f")) for x in row[2].split(",") if x.strip()]
        costs.append(numpy.array(before or [0.0] * 4))
        if len(samples[tile]) >= 4:
            costs[tile] = fit(samples[tile])
            text[i] = row[1] + "{" + ", ".join(f"{x:.3f}f" for x in costs[tile]) + "}" + row[3]
            errors = [terms(*s[:2]) @ costs[tile] / s[2] - 1 for s in samples[tile]]
            print(f"{text[i]}  // {len(errors)} times, error at most {max(map(abs, errors)):.0%}")
        else:
            print(f"{line}  // {len(samples[tile])} times")
    if not costs or max(samples, default=-1) >= len(costs):
        raise SystemExit(f"{SOURCE}: {len(costs)} rows of kTiles for times of tile {max(samples, default=-1)}; the "
                         "bench must be built from this source")

    losses = []
    for what, times in products.items():
        known = [tile for tile in times if costs[tile].any()]
        chosen = min(known, key=lambda tile: terms(*times[tile][:2]) @ costs[tile])
        best = min(times, key=lambda tile: times[tile][2])
        losses.append(times[chosen][2] / times[best][2] - 1)
        print(f"{what}: {chosen} takes {times[chosen][2]:.1f} us; fastest: {best}, {times[best][2]:.1f}")
    print(f"{len(losses)} products: {numpy.mean(losses):.1%} lost on average, {max(losses):.1%} at most")
    if arguments.write:
        SOURCE.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()

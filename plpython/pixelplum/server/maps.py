"""Maps: laid out on the coordinator from principal components, and extended by further items."""

from __future__ import annotations

import numpy as np

from pixelplum.core.clustering import maps
from pixelplum.server.canceling import cancellable, in_thread
from pixelplum.server.clusters import matrix_of
from pixelplum.server.progress import reporter


def usual_perplexity(plpy, cache: dict, algorithm: str, perplexity: float | None, items: int) -> float | None:
    """Return the perplexity to use; see `maps.check`."""
    return maps.check(algorithm, perplexity, items)


def lay_out(
    plpy, cache: dict, title: str, coordinates: bytes, items: int, algorithm: str, perplexity: float | None, seed: int
) -> dict:
    """Lay out items: xs, ys, and the map's trustworthiness."""
    seen = matrix_of(coordinates, items)

    def lay_out(on_progress) -> dict:
        points = maps.fit(seen, algorithm, perplexity, seed, on_progress)
        trusted = maps.measure(seen, points, seed)
        return {"xs": points[:, 0].tolist(), "ys": points[:, 1].tolist(), "trustworthiness": trusted}

    return in_thread(lay_out, reporter(plpy, title))


@cancellable
def lay_out_further(
    plpy, cache: dict, coordinates: bytes, xs: list[float | None], ys: list[float | None], algorithm: str,
    perplexity: float | None, seed: int,
) -> dict:  # fmt: skip
    """Lay out the items whose coordinates are None, among the others: xs, ys of all."""
    points = np.array(list(zip(xs, ys, strict=True)), float)  # None becomes NaN
    seen = matrix_of(coordinates, len(points))
    further = np.isnan(points[:, 0])
    points[further] = maps.extend(seen[further], seen[~further], points[~further], algorithm, perplexity, seed)
    return {"xs": points[:, 0].tolist(), "ys": points[:, 1].tolist()}

"""What follows from a network's outputs by arithmetic alone: class activation maps."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.arrays import Floats
from models.card import Head
from models.errors import BadParameter


def class_activation(maps: Mapping[int, Floats], kernel: Floats, bias: Floats, head: Head, label: int) -> Floats:
    """Where the logit of ``label`` comes from: a map (height, width) whose mean plus bias is the logit.

    ``maps`` holds, by tap index, the map (height, width, channels) of every pool of the head, ``kernel`` is
    (embedding, classes) and ``bias`` (classes,). With averages at several depths the result is a sum over
    depths on the largest of their grids (Zhou et al. 2016, "Learning deep features for discriminative
    localization").
    Raises ``BadParameter`` where the head has no pools, a map is missing or the label does not exist.
    """
    if not head.pools:
        raise BadParameter("The model averages no feature map, so it has no class activation. Use another backbone.")
    if not 0 <= label < bias.shape[0]:
        raise BadParameter(f"There is no label {label}. The model has labels 0 to {bias.shape[0] - 1}.")
    missing = [pool.tap for pool in head.pools if pool.tap not in maps]
    if missing:
        raise BadParameter(f"The map of tap {missing[0]} is missing. Give every tap that the head averages.")
    height = max(maps[pool.tap].shape[0] for pool in head.pools)
    width = max(maps[pool.tap].shape[1] for pool in head.pools)
    total = np.zeros((height, width))
    for pool in head.pools:
        share = np.asarray(maps[pool.tap], np.float64) @ kernel[pool.start : pool.stop, label]
        total += spread(share, height, width)
    return total.astype(np.float32)


def spread(grid: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Resize (h, w) to (height, width), each new cell averaging the area it covers: the mean stays exact."""
    return _areas(grid.shape[0], height) @ grid @ _areas(grid.shape[1], width).T


def _areas(old: int, new: int) -> NDArray[np.float64]:
    """(new, old): the share of each old cell in each new one, both dividing one and the same length."""
    edges_old, edges_new = np.linspace(0, 1, old + 1), np.linspace(0, 1, new + 1)
    starts = np.maximum(edges_new[:-1, None], edges_old[None, :-1])
    stops = np.minimum(edges_new[1:, None], edges_old[None, 1:])
    return np.asarray(np.clip(stops - starts, 0, None) * new, np.float64)

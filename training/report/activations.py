"""Where in an image the network sees a label: class activation maps of samples, through the serving runtime.

The maps are those that the service draws: the label's class activation less the average of the other labels'
ones, biases included, since only differences between logits decide. Their mean is the label's lead.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.card import Card
from models.runtime.base import Runtime
from models.runtime.cam import class_activation
from training.data.dataset import Sample
from training.data.loader import load_one

Floats = NDArray[np.float32]


def activations(runtime: Runtime, card: Card, kernel: Floats, bias: Floats) -> Callable[[Sample, int], Floats] | None:
    """A function (sample, label index) -> map (h, w), for ``Report.activation``.

    ``kernel`` (embedding, classes) and ``bias`` (classes,) are the head's, as ``head_arrays`` gives them.
    None where the head averages no feature maps, so that there is no exact map.
    """
    if not card.head.pools:
        return None
    taps = tuple(dict.fromkeys(pool.tap for pool in card.head.pools))
    over, lead = _over_the_others(kernel), _over_the_others(bias)
    latest: dict[str, dict[int, Floats]] = {}

    def maps_of(sample: Sample) -> dict[int, Floats]:
        # A picture asks for two labels of the same image, one after the other.
        if sample.sha256 not in latest:
            image = load_one(sample, card.input_size)
            found = runtime.run(image[None], tuple(f"tap_{tap}" for tap in taps))
            latest.clear()
            latest[sample.sha256] = {tap: found[f"tap_{tap}"][0] for tap in taps}
        return latest[sample.sha256]

    return lambda sample, label: class_activation(maps_of(sample), over, lead, card.head, label) + lead[label]


def _over_the_others(columns: Floats) -> Floats:
    """Each class's column (last axis) less the mean of the other classes' columns."""
    classes = columns.shape[-1]
    wide = columns.astype(np.float64)
    others = (wide.sum(axis=-1, keepdims=True) - wide) / (classes - 1)
    over: Floats = (wide - others).astype(np.float32)
    return over

"""A small network's new classifier, a schedule and rows in memory, for the tests of training's two phases."""

import keras
import numpy as np

from models.network.classifier import HeadSpec, build_classifier
from training.fit.trainer import Schedule, StandardHead


class Held:
    views = 1

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def take(self, positions, views, rng):
        return (self.rows[positions],)


def schedule(epochs=6, patience=10):
    return Schedule(phase="head", title="t", epochs=epochs, patience=patience, learning_rate=0.01)


def head(dropout=0.0, l2=0.0):
    keras.utils.set_random_seed(0)
    classifier = build_classifier("cnn", 2, input_size=32, head=HeadSpec(dropout=dropout))
    return classifier, StandardHead(
        classifier, np.zeros(256, np.float32), np.ones(256, np.float32), l2=l2, dropout=dropout
    )

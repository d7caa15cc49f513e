import numpy as np

from training.fit.checkpoint import Progress
from training.publish.publish import history_of, versions


def test_the_history_holds_the_figures_and_no_weights():
    progress = Progress("top", epoch=1, best_epoch=1, history=[{"epoch": 1.0}], arrays={"weights": [np.zeros(3)]})
    assert history_of([progress]).model_dump()["phases"] == (
        {"phase": "top", "best_epoch": 1, "history": ({"epoch": 1.0},)},
    )


def test_versions_name_the_libraries():
    assert {"keras", "openvino", "tensorflow"} <= versions().keys()

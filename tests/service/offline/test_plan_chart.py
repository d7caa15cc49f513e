from PIL import Image

from service.inference.execution_plan import Plan
from service.offline import plan_chart


def test_a_plot_is_drawn_and_differs_with_what_is_chosen(tmp_path):
    measured = [
        Plan(streams=streams, threads=4, batch=batch, images_per_second=20 * streams + batch, p50_ms=5 * batch)
        for streams in (1, 2)
        for batch in (1, 4, 8)
    ]
    for index in (0, 5):
        plan_chart.draw(measured, measured[index], "network:v1", tmp_path / f"{index}.png")
    first, last = (Image.open(tmp_path / f"{index}.png").convert("RGB") for index in (0, 5))
    assert first.size == last.size
    assert min(first.size) > 500
    assert len(first.getcolors(1 << 24)) > 50
    assert first.tobytes() != last.tobytes()

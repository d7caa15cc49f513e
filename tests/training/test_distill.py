import numpy as np
import pytest

from models.errors import BadData, BadParameter
from models.runtime.open import open_runtime
from models.store import store
from tests.support.shapes import CIRCLE, SQUARE, TRIANGLE, draw, shapes_folder
from training.config import TrainSettings, catseye_home
from training.data.dataset import load_batch, read_dataset
from training.distill import StudentSettings, data_of, distill, gain_of, same_images, student_settings
from training.fit.teacher import teacher_logits
from training.pipeline import train

pytestmark = pytest.mark.long

COUNTS = {CIRCLE: 16, SQUARE: 16, TRIANGLE: 16}


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """A teacher, its images, and the student that it taught."""
    root = tmp_path_factory.mktemp("lesson")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CATSEYE_HOME", str(root / "home"))
        patch.setenv("BENTOML_HOME", str(root / "bentoml"))
        data = shapes_folder(root / "도형", COUNTS)
        settings = TrainSettings(
            name="teacher",
            backbone="cnn",
            weights="none",
            size=48,
            mirror="all",
            head_epochs=6,
            epochs=6,
            seed=3,
            int8="off",
        )
        teacher = train(data, settings)
        student = StudentSettings(backbone="cnn", size=32, head_epochs=4, epochs=4)
        yield teacher, data, distill(teacher, student)


def test_the_student_is_the_fast_variant_with_its_gain_on_the_card(lesson):
    teacher, _, stored = lesson
    card = store.get("teacher-fast").card
    assert (stored.card, card.variant_of, card.input_size) == (card, "teacher", (32, 32))
    assert card.settings["teacher"] == card.distillation.teacher == teacher.tag
    assert card.settings["mirror"] == "all"
    assert card.distillation.direct.images == card.split.test
    assert card.distillation.gain_low <= card.distillation.gain <= card.distillation.gain_high
    assert "Distillation gained" in (stored.path / "report.html").read_text("utf-8")
    assert [model.name for model in store.list_models()] == ["teacher-fast", "teacher"]
    assert not list((catseye_home() / "runs").glob("*/checkpoint-*.npz"))


def test_teacher_and_student_were_examined_on_the_same_images(lesson):
    teacher, data, stored = lesson
    assert stored.card.split == teacher.card.split
    assert stored.card.data == teacher.card.data
    assert same_images(teacher.card, data).test == read_dataset(data, seed=3, quiet=True).test
    assert data_of(teacher) == data


def test_the_teacher_is_asked_once_and_answers_for_all_mirror_images(lesson):
    teacher, data, _ = lesson
    samples = read_dataset(data, seed=3, quiet=True).train
    folder = next((catseye_home() / "features").glob("teacher-*"))
    before = sorted(folder.rglob("*.npy"))
    views = ("plain", "left-right", "up-down", "both")
    kept = teacher_logits(teacher, samples, views)
    assert sorted(folder.rglob("*.npy")) == before
    images = load_batch(samples, teacher.card.input_size)
    runtime = open_runtime(teacher, precision="float32")
    mirrored = (images, images[:, :, ::-1], images[:, ::-1], images[:, ::-1, ::-1])
    asked = np.mean([runtime.run(np.ascontiguousarray(view))["logits"] for view in mirrored], axis=0)
    runtime.close()
    np.testing.assert_allclose(kept, asked / teacher.card.temperature, atol=1e-3, rtol=1e-3)


def test_other_images_are_refused_in_one_sentence(lesson, tmp_path):
    teacher, data, _ = lesson
    fewer = shapes_folder(tmp_path / "fewer", COUNTS | {SQUARE: 15})
    with pytest.raises(BadData, match="it has 15 images of '네모', the teacher had 16"):
        same_images(teacher.card, fewer)
    changed = shapes_folder(tmp_path / "changed", COUNTS)
    draw(CIRCLE, 99).save(changed / CIRCLE / "그림 0.png")
    with pytest.raises(BadData, match="as many images of every class, but not the same ones"):
        same_images(teacher.card, changed)
    stranger = teacher.card.model_copy(update={"data": None})
    with pytest.raises(BadData, match="does not say which images"):
        same_images(stranger, data)


def test_a_student_keeps_what_it_is_not_told_as_the_teacher_had_it(lesson, monkeypatch, tmp_path):
    teacher, _, _ = lesson
    settings = student_settings(teacher, StudentSettings(name="quick", epochs=9, temperature=5.0))
    assert (settings.mirror, settings.head_epochs, settings.seed) == ("all", 6, 3)
    assert (settings.epochs, settings.temperature, settings.freeze, settings.size) == (9, 5.0, "auto", None)
    with pytest.raises(BadParameter, match="cannot have its teacher's name"):
        student_settings(teacher, StudentSettings(name="teacher"))
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path))
    with pytest.raises(BadParameter, match="its images are not known"):
        data_of(teacher)


def test_the_gain_is_paired():
    before = np.array([True] * 80 + [False] * 20)
    after = np.array([True] * 76 + [False] * 4 + [True] * 12 + [False] * 8)
    gain = gain_of(before, after)
    assert gain.value == pytest.approx(0.08)
    # McNemar's difference: 12 better, 4 worse of 100.
    assert gain.high - gain.value == pytest.approx(1.96 * np.sqrt(16 - 64 / 100) / 100)
    assert str(gain_of(before, before)) == "+0.0 points (95 % interval +0.0 to +0.0)"

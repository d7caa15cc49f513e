import shutil
from collections import Counter

import numpy as np
import pytest

from models.errors import BadData, BadParameter
from tests.support.folders import class_folders, picture, put
from training.data.dataset import Fractions, labels_of, read_dataset, targets_of, weights_of


def test_the_parts_of_a_split_are_collected_once(tmp_path):
    """They are read in loops: collecting them again each time is quadratic."""
    data = read(class_folders(tmp_path, {"x": 10, "y": 10}))
    assert data.train is data.train
    assert data.validation is data.validation
    assert data.test is data.test


def read(path, **options):
    return read_dataset(path, quiet=True, **options)


def test_a_folder_is_divided_and_described(tmp_path):
    data = read(class_folders(tmp_path / "동물", {"고양이": 20, "개": 40}), seed=3)
    assert data.labels == ("개", "고양이")
    assert (len(data.train), len(data.validation), len(data.test)) == (42, 9, 9)
    assert Counter(s.label for s in data.test) == {0: 6, 1: 3}
    assert data.split.model_dump() == {
        "method": "class folders; stratified by class, copies kept together",
        "seed": 3,
        "train": 42,
        "validation": 9,
        "test": 9,
    }
    assert data.fingerprint.name == "동물"
    assert data.fingerprint.classes == {"개": 40, "고양이": 20}
    assert data.warnings == ()


def test_fingerprint_and_split_follow_content_not_names_or_order(tmp_path):
    first = class_folders(tmp_path / "a", {"x": 12, "y": 12})
    second = tmp_path / "b"
    for i, path in enumerate(sorted(first.rglob("*.png"), reverse=True)):
        put(second / path.parent.name / f"other {i:03}.png", path.read_bytes())
    one, two = read(first), read(second)
    assert one.fingerprint.sha256 == two.fingerprint.sha256
    assert {s.sha256 for s in one.test} == {s.sha256 for s in two.test}
    assert {s.sha256 for s in read(first, seed=1).test} != {s.sha256 for s in one.test}
    shutil.copy(first / "x" / "0.png", first / "y" / "zz.png")
    assert read(first).fingerprint.sha256 != one.fingerprint.sha256


def test_an_exact_number_of_test_images_and_other_fractions(tmp_path):
    root = class_folders(tmp_path, {"x": 30, "y": 11})
    assert len(read(root, test_size=17).test) == 17
    none = read(root, fractions=Fractions(validation=0.0, test=0.0))
    assert (none.split.validation, none.split.test) == (0, 0)
    with pytest.raises(BadParameter, match=r"0\.6 test"):
        Fractions(validation=0.5, test=0.6)
    with pytest.raises(BadParameter, match="Leave some"):
        read(root, test_size=41)


def test_copies_never_straddle_the_split(tmp_path):
    root = class_folders(tmp_path, {"x": 10, "y": 10})
    for i in range(10):
        for copy in range(1 + i % 3):
            shutil.copy(root / "x" / f"{i}.png", root / "x" / f"{i} copy {copy}.png")
    data = read(root)
    parts = {}
    for sample in data.samples:
        parts.setdefault(sample.sha256, set()).add(sample.split)
    assert all(len(found) == 1 for found in parts.values())
    assert any("19 files are exact copies" in warning for warning in data.warnings)
    assert len(data.test) > 0


def test_an_image_under_two_labels_only_trains_and_is_named(tmp_path):
    root = class_folders(tmp_path, {"x": 10, "y": 10})
    shutil.copy(root / "x" / "4.png", root / "y" / "same.png")
    data = read(root)
    assert {s.split for s in data.samples if s.path.name in ("same.png",)} == {"train"}
    assert {s.split for s in data.samples if s.path == root / "x" / "4.png"} == {"train"}
    assert any("4.png as 'x', same.png as 'y'" in warning for warning in data.warnings)


def test_folders_of_the_split_are_kept_and_cleaned_of_copies(tmp_path):
    for name, start in (("train", 0), ("val", 100), ("test", 200)):
        class_folders(tmp_path / name, {"x": 10, "y": 10}, start=start)
    shutil.copy(tmp_path / "test" / "x" / "0.png", tmp_path / "train" / "x" / "leak.png")
    shutil.copy(tmp_path / "test" / "x" / "1.png", tmp_path / "val" / "x" / "leak.png")
    shutil.copy(tmp_path / "test" / "x" / "2.png", tmp_path / "train" / "y" / "quarrel.png")
    data = read(tmp_path)
    assert data.split.method == "given by the folders test, train, val"
    assert (data.split.train, data.split.validation, data.split.test) == (21, 20, 19)
    assert sorted((s.path.name, s.kind) for s in data.skipped) == [
        ("2.png", "contradiction"),
        ("leak.png", "duplicate"),
        ("leak.png", "duplicate"),
    ]


def test_a_missing_part_is_split_off_the_training_images(tmp_path):
    class_folders(tmp_path / "train", {"x": 20, "y": 20})
    class_folders(tmp_path / "test", {"x": 5, "y": 5}, start=900)
    data = read(tmp_path)
    assert len(data.test) == 10
    assert {s.path.parts[-3] for s in data.validation} == {"train"}
    assert data.split.method.endswith("; validation split off train, stratified by class, copies kept together")


def test_unreadable_files_are_listed_and_too_many_stop(tmp_path):
    root = class_folders(tmp_path, {"x": 20, "y": 20})
    put(root / "x" / "깨진.png", picture(1)[:40])
    data = read(root)
    assert [s.path.name for s in data.skipped] == ["깨진.png"]
    assert data.fingerprint.skipped == 1
    assert "깨진.png" in data.warnings[0]
    put(root / "y" / "empty.png", b"")
    put(root / "y" / "text.png", b"hello")
    with pytest.raises(BadData, match=r"3 of 43 files cannot be read, more than 5%"):
        read(root)
    assert len(read(root, allow_unreadable=True).skipped) == 3


def test_nothing_readable_at_all(tmp_path):
    for label in "xy":
        put(tmp_path / label / "a.png", b"hello")
    with pytest.raises(BadData, match="None of the 2 files"):
        read(tmp_path, allow_unreadable=True)


def test_small_classes_work_or_say_why_not(tmp_path):
    data = read(class_folders(tmp_path / "two", {"x": 20, "y": 2}))
    assert sorted(s.split for s in data.samples if s.label == 1) == ["test", "train"]
    assert data.warnings == ("No validation image of 'y': add images of these classes.",)
    with pytest.raises(BadData, match=r"fewer than two different images: 'y'\. Add images"):
        read(class_folders(tmp_path / "one", {"x": 20, "y": 1}))
    put(
        tmp_path / "copy" / "y" / "again.png",
        (class_folders(tmp_path / "copy", {"x": 9, "y": 1}) / "y/0.png").read_bytes(),
    )
    with pytest.raises(BadData, match="two different images"):
        read(tmp_path / "copy")


def test_a_table_with_weights_targets_and_strata(tmp_path):
    rows = ["path,label,weight,stratum,target:good,target:bad"]
    for i in range(40):
        put(tmp_path / "images" / f"{i}.png", picture(i))
        rows.append(f"images/{i}.png,{'good' if i % 2 else 'bad'},{1 + i / 100},{i // 20},,")
    rows[1] = rows[1][:-1] + "0.25,0.75"
    data = read(put(tmp_path / "labels.csv", "\n".join(rows).encode()), fractions=Fractions(test=0.2))
    first = next(s for s in data.samples if s.path.name == "0.png")
    assert first.target == (0.75, 0.25)
    np.testing.assert_allclose(targets_of([first, data.samples[1]], 2), [[0.75, 0.25], [0, 1]])
    np.testing.assert_allclose(weights_of(data.samples[:2]), [1.0, 1.01])
    assert labels_of(data.samples[:2]).tolist() == [0, 1]
    assert Counter((s.label, s.stratum) for s in data.test) == {(a, b): 2 for a in (0, 1) for b in "01"}
    assert "class and stratum" in data.split.method


def test_a_table_with_a_missing_file(tmp_path):
    root = class_folders(tmp_path, {"x": 20, "y": 20})
    rows = [f"{p.relative_to(root)},{p.parent.name}" for p in sorted(root.rglob("*.png"))]
    data = read(put(root / "t.csv", "\n".join(["path,label", *rows, "x/gone.png,x"]).encode()))
    assert [(s.path.name, s.kind, s.reason) for s in data.skipped] == [("gone.png", "missing", "no such file")]


def test_what_is_no_data_set(tmp_path):
    with pytest.raises(BadData, match="nothing at"):
        read(tmp_path / "nowhere")
    with pytest.raises(BadData, match="not a folder or a CSV"):
        read(put(tmp_path / "a.png", picture(0)))
    with pytest.raises(BadParameter, match="no column 'type'"):
        read(class_folders(tmp_path / "d", {"x": 2, "y": 2}), stratify="type")

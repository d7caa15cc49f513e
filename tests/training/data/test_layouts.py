import unicodedata

import pytest

from models.errors import BadData
from tests.support.folders import class_folders, picture, put
from training.data.layouts import folder_layout, quoted

CAT, DOG = "고양이", "개"


def test_class_folders_at_any_depth_and_in_any_script(tmp_path):
    class_folders(tmp_path, {CAT: 2, DOG: 1})
    put(tmp_path / CAT / "안" / "깊이" / "사진 3.JPG", picture(9, "JPEG"))
    layout = folder_layout(tmp_path)
    assert layout.labels == (DOG, CAT)
    assert sorted(c.label for c in layout.candidates) == [DOG, CAT, CAT, CAT]
    assert not layout.given


def test_labels_and_order_do_not_depend_on_how_the_file_system_writes_hangul(tmp_path):
    for form, root in (("NFC", tmp_path / "linux"), ("NFD", tmp_path / "mac")):
        for i, name in enumerate(("나비", "가위", "다리")):
            put(root / unicodedata.normalize(form, CAT) / unicodedata.normalize(form, f"{name}.png"), picture(i))
        class_folders(root, {"dog": 1}, start=9)
    linux, mac = folder_layout(tmp_path / "linux"), folder_layout(tmp_path / "mac")
    assert linux.labels == mac.labels == ("dog", CAT)
    contents = [[c.path.read_bytes() for c in layout.candidates] for layout in (linux, mac)]
    assert contents[0] == contents[1]


def test_hidden_files_and_other_files_are_not_looked_at(tmp_path):
    class_folders(tmp_path, {"a": 1, "b": 1})
    for name in ("a/.hidden.png", "a/notes.txt", "a/Thumbs.db", ".ipynb_checkpoints/x.png", "__MACOSX/a/y.png"):
        put(tmp_path / name, picture(5))
    layout = folder_layout(tmp_path)
    assert [c.path.name for c in layout.candidates] == ["0.png", "0.png"]
    assert layout.warnings == ()


def test_pictures_that_are_not_read_are_mentioned(tmp_path):
    class_folders(tmp_path, {"a": 1, "b": 1})
    put(tmp_path / "a" / "phone.HEIC", b"x")
    put(tmp_path / "loose.png", picture(7))
    first, second = folder_layout(tmp_path).warnings
    assert "1 .heic" in first
    assert "loose.png" in second


def test_folders_of_the_split(tmp_path):
    for name, start in (("Train", 0), ("valid", 100), ("test", 200)):
        class_folders(tmp_path / name, {"a": 2, "b": 1}, start=start)
    layout = folder_layout(tmp_path)
    assert layout.given == {"train", "validation", "test"}
    assert [c.split for c in layout.candidates].count("validation") == 3
    assert "Train, test, valid" in layout.described


def test_a_class_called_train_is_a_class(tmp_path):
    class_folders(tmp_path, {"train": 2, "bus": 2})
    assert folder_layout(tmp_path).labels == ("bus", "train")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ((), "holds no image"),
        (("a.png", "b.png"), "are not in class folders"),
        (("labels.csv",), "labels.csv"),
        (("cats/a.png",), "only one class, 'cats'"),
        (("data/cats/a.png", "data/dogs/b.png"), "Did you mean"),
        (("a/x.png", "b/notes.txt"), "without any image: 'b'"),
        (("train/a.png", "test/b.png"), "test/LABEL"),
        (("train/a/x.png", "test/b/x.png"), "without any training image: 'b'"),
        (("train/a/x.png", "test/a/x.png"), "only one class, 'a'"),
        (("train/notes.txt", "test/a/x.png"), "holds no image"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence_and_another_says_what_to_do(tmp_path, files, sentence):
    for i, name in enumerate(files):
        put(tmp_path / name, picture(i))
    with pytest.raises(BadData) as caught:
        folder_layout(tmp_path)
    assert sentence in caught.value.detail
    assert ". " in caught.value.detail


def test_long_lists_of_names_are_cut():
    assert quoted(["a", "b"]) == "'a', 'b'"
    assert quoted([str(i) for i in range(9)], 2) == "'0', '1' and 7 more"

import json
import os
from pathlib import Path

import pytest

from models.errors import BadParameter
from service.offline import run_folder
from service.offline.run_folder import Run, Terms

TERMS = Terms(
    model="network",
    version="1",
    runtime="openvino",
    precision="float32",
    top_k=2,
    format="jsonl",
    shard=3,
    limits={"max_bytes": 1000},
    folder="/photographs",
    paths=("a", "b"),
)
FILES = [Path(f"{number}, 고양이.jpg") for number in range(7)] + [Path(os.fsdecode(b"line\nbreak \xff.png"))]


def fill(run: Run, numbers: set[int]) -> None:
    """Write the tables of these shards; every third image of the run is bad."""
    for shard in run.shards:
        if shard.number in numbers:
            lines = []
            for number, path in enumerate(run.paths(shard), shard.number * TERMS.shard):
                bad = {"error": {"code": "bad_image", "detail": "broken"}}
                good = {"predictions": [{"label": '"error":', "probability": 1.0}]}
                name = str(path).encode(errors="replace").decode()
                lines.append(json.dumps({"path": name} | (bad if number % 3 == 1 else good), separators=(",", ":")))
            run.part(shard).write_text("\n".join(lines) + "\n")


def test_every_image_is_in_one_shard_and_in_order(tmp_path):
    with run_folder.opened(tmp_path / "out", TERMS, FILES) as run:
        assert [shard.images for shard in run.shards] == [3, 3, 2]
        assert [path for shard in run.shards for path in run.paths(shard)] == FILES
        assert run.images == len(FILES)
        assert run.left() == list(run.shards)


def test_a_run_goes_on_with_what_it_began_with(tmp_path):
    with run_folder.opened(tmp_path, TERMS, FILES) as run:
        fill(run, {1})
        (tmp_path / ".part-000002-x7.jsonl").write_text("half a li")
    with run_folder.opened(tmp_path, TERMS, [Path("new.jpg"), *FILES]) as again:
        assert again.changed
        assert [shard.number for shard in again.left()] == [0, 2]
        assert [path for shard in again.shards for path in again.paths(shard)] == FILES
        fill(again, {0, 2})
        assert again.left() == []
    assert list(tmp_path.glob(".part-*")) == []
    with run_folder.opened(tmp_path, TERMS, FILES) as whole:
        assert not whole.changed
        assert whole.left() == []


def test_errors_of_all_shards_are_listed(tmp_path):
    with run_folder.opened(tmp_path, TERMS, FILES) as run:
        fill(run, {0, 1, 2})
        assert run.keep_errors(2) == (3, [(str(FILES[1]), "broken"), (str(FILES[4]), "broken")])
    assert len((tmp_path / "errors.jsonl").read_text().splitlines()) == 3


def test_errors_in_csv(tmp_path):
    terms = TERMS.model_copy(update={"format": "csv"})
    with run_folder.opened(tmp_path, terms, FILES[:4]) as run:
        first, second = run.shards
        run.part(first).write_text(
            'path,label_1,probability_1,error\na.jpg,"x, y",1.0,\n"b\nc.jpg",,,broken\nd,x,1.0,\n'
        )
        run.part(second).write_text("e.jpg,,,empty\n")
        assert run.left() == []
        assert run.keep_errors(9) == (2, [("b\nc.jpg", "broken"), ("e.jpg", "empty")])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"top_k": 3}, "top-k is 2, not 3"),
        ({"version": "2"}, "version is 1, not 2"),
        ({"shard": 4}, "shard is 3, not 4"),
        ({"paths": ("a", "c")}, "paths is a b, not a c"),
    ],
)
def test_another_run_is_refused_and_the_difference_named(tmp_path, change, words):
    with run_folder.opened(tmp_path, TERMS, FILES):
        pass
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(BadParameter, match=words), run_folder.opened(tmp_path, TERMS.model_copy(update=change), FILES):
        pass
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_two_processes_do_not_share_a_folder(tmp_path):
    with (
        run_folder.opened(tmp_path, TERMS, FILES),
        pytest.raises(BadParameter, match="Another process"),
        run_folder.opened(tmp_path, TERMS, FILES),
    ):
        pass
    with run_folder.opened(tmp_path, TERMS, FILES):
        pass


def test_folders_that_hold_something_else_are_refused(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(BadParameter, match="choose another --output"), run_folder.opened(file, TERMS, FILES):
        pass
    (tmp_path / "part-000000.jsonl").touch()
    with pytest.raises(BadParameter, match=r"no run\.json"), run_folder.opened(tmp_path, TERMS, FILES):
        pass
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(BadParameter, match=r"run\.json cannot be read"), run_folder.opened(tmp_path, TERMS, FILES):
        pass

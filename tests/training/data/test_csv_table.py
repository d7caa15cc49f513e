import unicodedata

import pytest

from models.errors import BadData
from tests.support.folders import picture, put
from training.data.csv_table import table_layout


def table(tmp_path, text, encoding="utf-8"):
    return put(tmp_path / "labels.csv", text.encode(encoding))


def test_paths_are_relative_to_the_table_whatever_their_form_and_slashes(tmp_path):
    put(tmp_path / "그림" / unicodedata.normalize("NFD", "고양이.png"), picture(0))
    put(tmp_path / "그림" / "b.png", picture(1))
    elsewhere = put(tmp_path / "elsewhere" / "c.png", picture(2))
    rows = f"path,label\n그림/고양이.png,가\n그림\\b.png,나\n{elsewhere},나\nno.png,가\n"
    layout = table_layout(table(tmp_path, rows))
    assert [c.path.is_file() for c in layout.candidates] == [True, True, True, False]
    assert layout.labels == ("가", "나")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_columns_may_come_in_any_order_and_spelling(tmp_path, separator, encoding):
    rows = (
        ("Label ", "WEIGHT", "Path", "extra"),
        ("a", "", "x.png", "1"),
        ("b", "0.5", "y.png", "2"),
        ("", "", "", ""),
    )
    text = "\r\n".join(separator.join(row) for row in rows)
    layout = table_layout(table(tmp_path, text, encoding))
    assert [(c.label, c.weight) for c in layout.candidates] == [("a", 1.0), ("b", 0.5)]


def test_split_and_stratum(tmp_path):
    text = "path,label,split,stratum\nx,a,Train,m\ny,b,,p\nz,b,val,p\nw,a,TEST,m\n"
    layout = table_layout(table(tmp_path, text))
    assert [c.split for c in layout.candidates] == ["train", "train", "validation", "test"]
    assert [c.stratum for c in layout.candidates] == ["m", "p", "p", "m"]
    assert layout.described == "given by the column split"


def test_stratify_by_a_column_of_any_name(tmp_path):
    path = table(tmp_path, "path,label,type\nx,a,mono\ny,b,poly\n")
    assert [c.stratum for c in table_layout(path, stratify="type").candidates] == ["mono", "poly"]
    assert [c.stratum for c in table_layout(path).candidates] == ["", ""]
    with pytest.raises(BadData, match="no column 'kind'"):
        table_layout(path, stratify="kind")


def test_soft_targets(tmp_path):
    text = "path,label,target:b,target:a\nx,a,0.25,0.75\ny,b,,\nz,b,1,0\n"
    layout = table_layout(table(tmp_path, text))
    assert [c.target for c in layout.candidates] == [(0.75, 0.25), None, (0.0, 1.0)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no column 'path', 'label'"),
        ("file,class\nx,a\n", "it has 'class', 'file'"),
        ("path,label\n", "lists no image"),
        ("path,label\nx,a\ny,\n", "Row 3"),
        ("path,label\nx,a\n,b\n", "Row 3"),
        ("path,label\nx,a\ny,a\n", "only one label, 'a'"),
        ("path,label,weight\nx,a,heavy\ny,b,1\n", "weight 'heavy'"),
        ("path,label,weight\nx,a,0\ny,b,1\n", "weight '0'"),
        ("path,label,weight\nx,a,nan\ny,b,1\n", "weight 'nan'"),
        ("path,label,split\nx,a,tset\ny,b,\n", "split 'tset'"),
        ("path,label,split\nx,a,train\ny,b,test\n", "without any training row: 'b'"),
        ("path,label,target:a\nx,a,1\ny,b,0\n", "no column 'target:b'"),
        ("path,label,target:a,target:b\nx,a,0.9,0.9\ny,b,0,1\n", "Row 2"),
    ],
)
def test_a_wrong_table_is_refused_with_the_place(tmp_path, text, sentence):
    with pytest.raises(BadData) as caught:
        table_layout(table(tmp_path, text))
    assert sentence in caught.value.detail


def test_another_encoding_is_refused(tmp_path):
    with pytest.raises(BadData, match="UTF-8"):
        table_layout(table(tmp_path, "path,label\n고양이.png,가\n", "cp949"))

import pytest

from models.image.filetype import describe_file


@pytest.mark.parametrize(
    ("data", "word"),
    [(b"hello world, this is text", "text"), (b"%PDF-1.7 ...", "PDF"), (b"", "empty")],
)
def test_what_is_no_image_is_named(data, word):
    sentence = describe_file(data)
    assert word.lower() in sentence.lower()
    assert "Send" in sentence

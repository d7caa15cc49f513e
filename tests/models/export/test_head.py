from pathlib import Path

import numpy as np
import pytest

from models.errors import StoreError
from models.export.head import HEAD_FILE, read_head, refit, write_head


def data(images: int, features: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of very different sizes, and a head."""
    random = np.random.default_rng(seed)
    embedding = (random.normal(size=(images, features)) * np.logspace(-3, 1, features) + 2).astype(np.float32)
    return embedding, random.normal(size=(features, 3)).astype(np.float32), random.normal(size=3).astype(np.float32)


def test_heads_of_both_precisions_are_kept_in_one_file(tmp_path: Path) -> None:
    plain, rounded = data(1, 4)[1:], data(1, 4, seed=1)[1:]
    write_head(tmp_path, {"float32": plain})
    for precision in ("float32", "int8"):  # of which int8 has none of its own
        for found, expected in zip(read_head(tmp_path, precision), plain, strict=True):
            np.testing.assert_array_equal(found, expected)
    write_head(tmp_path, {"float32": plain, "int8": rounded})
    np.testing.assert_array_equal(read_head(tmp_path)[0], plain[0])
    np.testing.assert_array_equal(read_head(tmp_path, "int8")[0], rounded[0])
    np.testing.assert_array_equal(read_head(tmp_path, "int8")[1], rounded[1])


def test_a_missing_or_broken_file_is_a_store_error(tmp_path: Path) -> None:
    for content in (None, b"no archive", b"PK\x03\x04 no archive", b""):
        if content is not None:
            (tmp_path / HEAD_FILE).write_bytes(content)
        with pytest.raises(StoreError, match=r"head\.npz of model .* cannot be read"):
            read_head(tmp_path)
    np.savez(tmp_path / HEAD_FILE, other=np.zeros(1))
    with pytest.raises(StoreError, match=HEAD_FILE):
        read_head(tmp_path)


@pytest.mark.parametrize(("images", "features"), [(400, 20), (40, 200)])
def test_a_head_whose_answers_are_right_stays_as_it_is(images: int, features: int) -> None:
    embedding, kernel, bias = data(images, features)
    new_kernel, new_bias = refit((kernel, bias), embedding, embedding @ kernel + bias)
    np.testing.assert_allclose(new_kernel, kernel, atol=1e-3)
    np.testing.assert_allclose(embedding @ new_kernel + new_bias, embedding @ kernel + bias, atol=1e-3)


@pytest.mark.parametrize(("images", "features"), [(1000, 50), (300, 600)])
def test_what_rounding_did_is_made_good_on_images_that_were_not_seen(images: int, features: int) -> None:
    embedding, kernel, bias = data(2 * images, features)
    wanted = embedding @ kernel + bias
    random = np.random.default_rng(1)
    spread = embedding.std(0)
    shifted = embedding * random.uniform(0.8, 1.25, features) + spread * random.normal(size=features)
    rounded = (shifted + 0.05 * spread * random.normal(size=embedding.shape)).astype(np.float32)
    own = rounded @ kernel + bias
    fitted_kernel, fitted_bias = refit((kernel, bias), rounded[:images], wanted[:images])
    fitted = rounded @ fitted_kernel + fitted_bias
    assert fitted_kernel.dtype == fitted_bias.dtype == np.float32
    error = np.sqrt(np.mean((fitted - wanted)[images:] ** 2))
    assert error < 0.2 * np.sqrt(np.mean((own - wanted)[images:] ** 2))


def test_features_that_never_vary_do_no_harm() -> None:
    embedding, kernel, bias = data(50, 8)
    embedding[:, 0] = 3
    found = refit((kernel, bias), embedding, embedding @ kernel + bias + 1)
    assert all(np.isfinite(part).all() for part in found)
    np.testing.assert_allclose(embedding @ found[0] + found[1], embedding @ kernel + bias + 1, atol=1e-3)

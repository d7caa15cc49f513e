"""The error codes of the HTTP contract."""

STATUS = {
    "bad_image": 400,
    "unauthorized": 401,
    "unknown_model": 404,
    "unknown_layer": 404,
    "too_large": 413,
    "too_many_pixels": 413,
    "unsupported_media": 415,
    "bad_parameter": 422,
    "overloaded": 503,
    "draining": 503,
    "timed_out": 504,
}
"""The status that goes with each code."""

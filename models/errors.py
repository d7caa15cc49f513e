"""The errors that users can cause: one tree.

``CatseyeError`` carries the HTTP status and the stable ``code`` of the error contract, so that the
service maps an error to a reply without a table, and the command line prints the same sentence.

The data flow, and who raises what::

    request -> [size, type]  -> [decode]          -> [admission]         -> [network]
               TooLarge         BadImage             Overloaded, Draining   TimedOut
               UnsupportedMedia TooManyPixels        UnknownModel           UnknownLayer
               Unauthorized     BadParameter

    folder  -> [read data]   -> [weights]         -> [fit]               -> [store]
               BadData          WeightsUnavailable   BadParameter           StoreError, UnknownModel

Every message is one sentence that names what was wrong and one that says what to do.
"""


class CatseyeError(Exception):
    """Base of the tree: ``status`` is the HTTP status, ``code`` is stable and meant for programs."""

    status: int = 500
    code: str = "internal"
    title: str = "Internal error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BadImage(CatseyeError):
    """The bytes are not an image, or a damaged one."""

    status, code, title = 400, "bad_image", "Not a readable image"


class Unauthorized(CatseyeError):
    """An API key is required and was missing or wrong."""

    status, code, title = 401, "unauthorized", "API key required"


class UnknownModel(CatseyeError):
    """No model of that name, version or variant."""

    status, code, title = 404, "unknown_model", "Unknown model"


class UnknownLayer(CatseyeError):
    """The model has no tap of that name or index."""

    status, code, title = 404, "unknown_layer", "Unknown layer"


class SlowBody(CatseyeError):
    """The client did not send its whole body before the deadline."""

    status, code, title = 408, "slow_body", "Body too slow"


class TooLarge(CatseyeError):
    """The body is over the byte limit."""

    status, code, title = 413, "too_large", "Body too large"


class TooManyPixels(CatseyeError):
    """The image header declares more pixels or frames than the limit."""

    status, code, title = 413, "too_many_pixels", "Too many pixels"


class UnsupportedMedia(CatseyeError):
    """The route does not read this content type."""

    status, code, title = 415, "unsupported_media", "Unsupported media type"


class BadParameter(CatseyeError):
    """A parameter or setting has an invalid value."""

    status, code, title = 422, "bad_parameter", "Bad parameter"


class BadData(BadParameter):
    """A data set cannot be used as it is."""

    code, title = "bad_data", "Unusable data set"


class WeightsUnavailable(CatseyeError):
    """Pretrained weights could not be fetched, or do not fit the network."""

    status, code, title = 422, "weights_unavailable", "Weights unavailable"


class StoreError(CatseyeError):
    """The model store, or a model in it, cannot be read or written."""

    status, code, title = 500, "store_error", "Model store error"


class Overloaded(CatseyeError):
    """The queue is full; ``retry_after`` is in seconds."""

    status, code, title = 503, "overloaded", "Overloaded"

    def __init__(self, detail: str, retry_after: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Draining(Overloaded):
    """The server is shutting down."""

    code, title = "draining", "Shutting down"


class TimedOut(CatseyeError):
    """The deadline passed before the answer was ready."""

    status, code, title = 504, "timed_out", "Timed out"

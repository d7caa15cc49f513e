"""Detects the type of data that are none of the supported image formats, for the error message."""

_ADVICE = "Send JPEG, PNG, WebP, GIF, BMP or TIFF."

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF-", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\x00\x00\x01\x00", "a Windows icon"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftypavis", "an AVIF image"),
    (4, b"ftyphei", "a HEIC photograph (the default of iPhones)"),
    (4, b"ftyphev", "a HEIC photograph (the default of iPhones)"),
    (4, b"ftypmif1", "a HEIC photograph (the default of iPhones)"),
    (4, b"ftyp", "a video"),
    (0, b"RIFF", "a sound or video file"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy array"),
)
_BASE64 = (b"/9j/", b"iVBORw0KGgo", b"R0lGOD", b"UklGR", b"SUkqA", b"TU0AK", b"Qk0", b"data:image/")
_MARKUP = ((b"<svg", "an SVG drawing"), (b"<html", "a web page"), (b"<!doctype html", "a web page"))


def describe_file(data: bytes) -> str:
    """One sentence on the detected type, one on what to send."""
    if not data:
        return f"The body is empty. {_ADVICE}"
    for place, signature, name in _SIGNATURES:
        if data.startswith(signature, place):
            return f"The data are {name}, which is not read here. {_ADVICE}"
    head = data[:512].lstrip()
    if head.startswith(_BASE64):
        return "The data are base64 text. Send the bytes themselves, decoded."
    if head.startswith(b"--") and b"content-disposition:" in head.lower():
        return "The data are a multipart form. Send its content type too, or the image alone."
    for mark, name in _MARKUP:
        if mark in head.lower():
            return f"The data are {name}, which is not read here. {_ADVICE}"
    if _is_text(data[:512]):
        return f"The data are text, not an image. {_ADVICE}"
    return f"The data are not an image, or its beginning is damaged. {_ADVICE}"


def _is_text(head: bytes) -> bool:
    """Whether the first bytes are text in UTF-8; the last character may be cut."""
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return False
    return not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head)

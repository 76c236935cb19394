"""Small pictures as PNG in a data URI, for plotly's `layout.images`."""

import base64
import struct
import zlib

import numpy as np

_HEAD = b"\x89PNG\r\n\x1a\n"


def data_uri(pixels: np.ndarray) -> str:
    """A picture as `data:image/png;base64,...`.

    Args:
        pixels: uint8, [height, width] for grey or [height, width, 3] for colour.

    Source: W3C, "Portable Network Graphics (PNG) Specification", third edition; every row unfiltered (type 0).
    """
    height, width = pixels.shape[:2]
    colour_type = 0 if pixels.ndim == 2 else 2
    rows = np.zeros((height, 1 + pixels[0].size), dtype=np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
    png = _HEAD + b"".join(_chunk(kind, data) for kind, data in parts)
    return "data:image/png;base64," + base64.b64encode(png).decode()


def pixels_of(values: np.ndarray) -> np.ndarray:
    """What a network is fed, as a picture: its smallest value black, its largest white.

    Args:
        values: one sample: [height, width], [channels, height, width] of 1 or 3 channels, or anything else, whose
            values are laid out in a square, or in one row where their number is no square.

    Returns:
        uint8 [height, width] or [height, width, 3].
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim == 3 and values.shape[0] == 3:
        values = values.transpose(1, 2, 0)
    elif values.ndim == 3 and values.shape[0] == 1:
        values = values[0]
    elif values.ndim != 2:
        side = round(values.size**0.5)
        values = values.reshape(side, side) if side * side == values.size else values.reshape(1, -1)
    low, high = values.min(), values.max()
    pixels: np.ndarray = np.round(255 * (values - low) / (high - low or 1)).astype(np.uint8)
    return pixels


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

"""Pixels and numbers as the bytes of a record's members."""

import io

import cv2
import numpy as np


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Return HxWx3 uint8 RGB as a JPEG."""
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert done
    return data.tobytes()


def encode_mask(mask: np.ndarray) -> bytes:
    """Return HxW bool as a PNG of one bit a pixel, which decodes 4 times as fast as one of 8."""
    done, data = cv2.imencode(".png", mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])
    assert done
    return data.tobytes()


def encode_array(array: np.ndarray) -> bytes:
    """Return an array as an npy file without pickle."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()

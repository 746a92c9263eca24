"""Tone mapping of pictures with high dynamic range, HLG and PQ, to those of usual screens.

Formulas and constants are those of Recommendation ITU-R BT.2100 (tables 4 and 5), reference white
that of Report BT.2408, and the matrix that of Recommendation BT.2087. FFmpeg's scaler can do the
same, but takes seconds for each clip to prepare it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from av.video.frame import VideoFrame
from jaxtyping import Float32, UInt8, UInt16

# Values of a frame's transfer characteristics (ITU-T H.273).
_PQ, _HLG = 16, 18

# Luminance of diffuse white in cd/m2 (PQ), and its signal (HLG).
_WHITE_LUMINANCE, _WHITE_SIGNAL = 203.0, 0.75

# Light of the primaries of BT.2020 in those of BT.709.
_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)

# Light is kept up to the first value, where diffuse white is 1; above it is compressed below 1, up
# to the second value.
_KNEE, _BRIGHTEST = 0.8, 8.0


def is_hdr(frame: VideoFrame) -> bool:
    """Return whether a frame has high dynamic range."""
    return frame.color_trc in (_PQ, _HLG)


def tone_map(pixels: UInt16[np.ndarray, "H W 3"], transfer: int) -> UInt8[np.ndarray, "H W 3"]:
    """Return a picture of BT.2020 with the transfer HLG or PQ as one of sRGB."""
    light = _light_of_signal(transfer)[pixels] @ _TO_BT709.T
    # In place: pictures may be large.
    np.clip(light, 0, _BRIGHTEST, out=light)
    light *= 65535 / _BRIGHTEST
    mapped: np.ndarray = _signal_of_light()[light.astype(np.uint16)]
    return mapped


@cache
def _light_of_signal(transfer: int) -> Float32[np.ndarray, " 65536"]:
    """Return the light of each 16-bit signal, where diffuse white is 1."""
    signal = np.linspace(0, 1, 65536)
    if transfer == _PQ:
        light = _pq_luminance(signal) / _WHITE_LUMINANCE
    else:
        # Light of the scene: the gamma that HLG adds to it on a display is for brighter ones.
        light = _hlg_light(signal) / _hlg_light(np.array(_WHITE_SIGNAL))
    return np.asarray(light, np.float32)


def _pq_luminance(signal: np.ndarray) -> np.ndarray:
    """Return the luminance in cd/m2 by the EOTF of PQ."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    root = signal ** (1 / m2)
    luminance: np.ndarray = 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return luminance


def _hlg_light(signal: np.ndarray) -> np.ndarray:
    """Return the light of the scene, at most 1, by the inverse OETF of HLG."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    light: np.ndarray = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return light


@cache
def _signal_of_light() -> UInt8[np.ndarray, " 65536"]:
    """Return the 8-bit signal of sRGB for light from 0 to `_BRIGHTEST`."""
    light = np.linspace(0, _BRIGHTEST, 65536)
    excess = np.maximum(light - _KNEE, 0) / (1 - _KNEE)
    light = np.minimum(light, _KNEE) + (1 - _KNEE) * excess / (1 + excess)
    signal = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (255 * signal).round().astype(np.uint8)

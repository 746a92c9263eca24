"""Video files to frames and back: sampled by presentation time, upright, resized, RGB."""

from glimpses.video.arrays import ArrayReader, ArrayResizer
from glimpses.video.convert import RESIZER, DecodedFrame, RGBConverter
from glimpses.video.prefetch import FrameSource, Prefetcher
from glimpses.video.probe import (
    SUFFIXES,
    VideoCheck,
    VideoInfo,
    declared_length,
    examine,
    frame_times,
    probe,
)
from glimpses.video.sampling import ClipFrames, Frame, FrameRate, FrameReader, read
from glimpses.video.sources import LiveSource, camera, stream_at
from glimpses.video.writer import write

__all__ = [
    "RESIZER",
    "SUFFIXES",
    "ArrayReader",
    "ArrayResizer",
    "ClipFrames",
    "DecodedFrame",
    "Frame",
    "FrameRate",
    "FrameReader",
    "FrameSource",
    "LiveSource",
    "Prefetcher",
    "RGBConverter",
    "VideoCheck",
    "VideoInfo",
    "camera",
    "declared_length",
    "examine",
    "frame_times",
    "probe",
    "read",
    "stream_at",
    "write",
]

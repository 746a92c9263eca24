"""Video files, cameras and streams to RGB frames, and back."""

from glimpses.utils.limits import DecodeOptions, decode_options, set_decode_options
from glimpses.video.arrays import ArrayReader, ArrayResizer
from glimpses.video.convert import RESIZER, DecodedFrame, RGBConverter
from glimpses.video.display import DISPLAY_TOLERANCE, frames_displayed_at, is_displaying
from glimpses.video.isolation import Frame, start_decoder
from glimpses.video.prefetch import FrameSource, Prefetcher, Turn, in_turns
from glimpses.video.probe import (
    SUFFIXES,
    THUMBNAIL_RATE,
    THUMBNAIL_SIZE,
    VideoCheck,
    VideoHeader,
    VideoInfo,
    examine,
    frame_edges,
    is_picture_folder,
    is_video,
    probe,
    read_header,
)
from glimpses.video.sampling import ClipFrames, FrameRate, FrameReader, read
from glimpses.video.sources import LiveSource, camera, stream_at
from glimpses.video.suspects import suspects_last
from glimpses.video.writer import write

__all__ = [
    "DISPLAY_TOLERANCE", "RESIZER", "SUFFIXES", "THUMBNAIL_RATE", "THUMBNAIL_SIZE", "ArrayReader",
    "ArrayResizer", "ClipFrames", "DecodeOptions", "DecodedFrame", "Frame", "FrameRate",
    "FrameReader", "FrameSource", "LiveSource", "Prefetcher", "RGBConverter", "Turn",
    "VideoCheck", "VideoHeader", "VideoInfo", "camera", "decode_options", "examine",
    "frame_edges", "frames_displayed_at", "in_turns", "is_displaying", "is_picture_folder",
    "is_video", "probe", "read", "read_header", "set_decode_options", "start_decoder",
    "stream_at", "suspects_last", "write",
]  # fmt: skip

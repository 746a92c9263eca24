"""Reader of Caffe's binary files of weights (`.caffemodel`), without Caffe.

The files are protocol buffers. Only the fields with layer names and weights are declared here, by
their numbers in Caffe's `caffe.proto`; the protobuf library skips all others and executes nothing.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from glimpses.utils.errors import GlimpsesError

# Larger files are not read. GoogLeNet's has 54 MB.
_MAX_BYTES = 500_000_000

_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING

# Field numbers and types. `layers` holds the layers of older files (`V1LayerParameter`), `layer`
# those of newer ones. Packed floats are declared as bytes, which NumPy reads without a loop.
_MESSAGES: dict[str, dict[str, tuple[int, int | str]]] = {
    "Net": {"layers": (2, "OldLayer"), "layer": (100, "Layer")},
    "OldLayer": {"name": (4, _STRING), "blobs": (6, "Blob")},
    "Layer": {"name": (1, _STRING), "blobs": (7, "Blob")},
    "Blob": {"data": (5, _BYTES)},
}


def read_caffemodel(path: str | Path) -> dict[str, list[np.ndarray]]:
    """Return the weights of every layer, flat and in float32, by the layer's name.

    Raises:
        GlimpsesError: the file cannot be read, is too large, or is not a caffemodel.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise GlimpsesError(
                f"{path}: has more than {_MAX_BYTES // 10**6} MB; give another file"
            )
        net = _net_message().FromString(path.read_bytes())
        return {
            layer.name: [np.frombuffer(b"".join(blob.data), "<f4") for blob in layer.blobs]
            for layer in (*net.layers, *net.layer)
        }
    except OSError as error:
        raise GlimpsesError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (DecodeError, ValueError) as error:
        raise GlimpsesError(
            f"{path}: is not a caffemodel, or is damaged ({error}); download it again"
        ) from error


@cache
def _net_message() -> Any:
    """Return the message class of a network with the fields of `_MESSAGES`."""
    file = descriptor_pb2.FileDescriptorProto(
        name="glimpses_caffe.proto", package="glimpses_caffe", syntax="proto2"
    )
    for message, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            field = declared.field.add(name=name, number=number)
            field.label = field.LABEL_OPTIONAL if kind == _STRING else field.LABEL_REPEATED
            if isinstance(kind, str):
                field.type, field.type_name = field.TYPE_MESSAGE, f".glimpses_caffe.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("glimpses_caffe.Net"))

"""Write a step as a graph of OpenVINO: an XML file, and a file of weights beside it."""

import errno
from pathlib import Path

from promptseg.export.parts import ExportPart
from promptseg.runtime.export import convert
from promptseg.runtime.silent_openvino import openvino


def write_openvino(part: ExportPart, path: Path) -> None:
    """Write a part to `path`, which ends in .xml, and the .bin beside it; weights stay float32.

    Raises:
        OSError: The files can't be written.
    """
    graph = convert(part.build())
    try:
        openvino.save_model(graph, path, compress_to_fp16=False)
    except RuntimeError as error:  # its way to say that the disk is full
        raise OSError(errno.EIO, f"OpenVINO can't write {path.name}: {error}") from error

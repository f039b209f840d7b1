"""Memory and time for an image of 100 megapixels, by phrases and by automatic masks, in tiles.

Command:  python benchmarks/large_image.py --side 10000 --threads 1
Image:    a mosaic of the bundled images. Each cell shows one of them or a part of it, at one to four times its size;
          a JPEG file.
Tasks:    "phrases": five phrases by the default model; "everything": every mask by MobileSAM in PyTorch.
Output:   one JSON line for each task. `peak_gib` is the largest resident size of the task's process, from its start
          over reading the file to the last full-size mask. Each task has a process of its own.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# Every import of something heavy is in the function that needs it, so that --help answers at once.

PHRASES = ("cat", "cup", "rocket", "a woman's face", "a red bus")
CELL = 1000


def write_mosaic(path: Path, side: int) -> None:
    """Write a square mosaic of the bundled images, side x side pixels."""
    import numpy as np
    from PIL import Image

    from promptseg.image_files import bundled_image

    rng = np.random.default_rng(0)
    images = [Image.open(bundled_image(name)).convert("RGB") for name in ("astronaut", "chelsea", "coffee", "rocket")]
    mosaic = Image.new("RGB", (side, side))
    for top in range(0, side, CELL):
        for left in range(0, side, CELL):
            image = images[rng.integers(len(images))]
            scale = max(rng.uniform(1, 4), CELL / min(image.size))
            large = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
            x, y = (int(rng.integers(0, length - CELL + 1)) for length in large.size)
            mosaic.paste(large.crop((x, y, x + CELL, y + CELL)), (left, top))
    mosaic.save(path, quality=92)


def find_phrases(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Segment the image by phrases, in tiles."""
    import promptseg

    model = promptseg.load(device="cpu", engine=options.engine).tiled(options.tile)
    start = time.perf_counter()
    embedding = model.encode(path)
    encoded = time.perf_counter()
    found = model.segment(embedding, PHRASES)
    areas = {result.label: int(result.mask.sum()) for result in found}
    masked = time.perf_counter()
    return {
        "phrases": {result.label: [round(result.presence, 3), len(result.instances)] for result in found},
        "share": {label: round(area / options.side**2, 4) for label, area in areas.items()},
        "map": found[0].mask_logits.shape,
        "encode_s": round(encoded - start, 1),
        "segment_s": round(masked - encoded, 1),
    }


def find_everything(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Find every mask of the image, in tiles."""
    import promptseg
    from promptseg.ops.windows import Tiles
    from promptseg.sam.automatic import AutomaticSettings

    model = promptseg.load("mobile-sam", device="cpu", engine="torch", input_side=options.masker_side)
    settings = AutomaticSettings(points_per_side=options.points, stability_score_thresh=0.9)
    start = time.perf_counter()
    found = model.segment_everything(path, settings=settings, tiles=Tiles(options.tile, options.tile // 4))
    (result,) = found
    share = float(result.mask.mean())
    return {
        "masks": len(result.instances),
        "share": round(share, 4),
        "seconds": round(time.perf_counter() - start, 1),
    }


TASKS = {"phrases": find_phrases, "everything": find_everything}


def measure(task: str, path: Path, options: argparse.Namespace, connection: Connection) -> None:
    """Do one task in this process and send what it took, or why it failed."""
    import torch

    from promptseg.errors import PromptsegError

    torch.set_num_threads(options.threads)
    try:
        facts = TASKS[task](path, options)
    except PromptsegError as error:
        connection.send(f"{task}: {error}")
        return
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    connection.send(facts | {"peak_gib": round(peak / 2**30, 2)})


def main() -> None:
    """Write the image, then measure each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=10_000, help="of the image, pixels")
    parser.add_argument("--tile", type=int, default=1024, help="side of a tile, pixels")
    parser.add_argument("--task", choices=tuple(TASKS), action="append", help="default: both")
    parser.add_argument("--engine", default="auto", help="of the model that finds phrases")
    parser.add_argument("--points", type=int, default=8, help="automatic masks: points along each side of a tile")
    parser.add_argument("--masker-side", type=int, default=512, help="automatic masks: longer side that SAM encodes")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "mosaic.jpg"
        context = multiprocessing.get_context("spawn")
        # In a process of its own, like the tasks: none inherits another's peak.
        writer = context.Process(target=write_mosaic, args=(path, options.side))
        writer.start()
        writer.join()
        for task in options.task or TASKS:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=measure, args=(task, path, options, sender))
            process.start()
            sender.close()
            facts = receiver.recv()
            process.join()
            if isinstance(facts, str):
                raise SystemExit(facts)
            setting = {"task": task, "side": options.side, "tile": options.tile, "threads": options.threads}
            sys.stdout.write(json.dumps(setting | facts) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

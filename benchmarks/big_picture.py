"""How much memory and time an image of 100 megapixels takes, by phrases and by automatic masks, in tiles.

Command:   python benchmarks/big_image.py --side 10000 --threads 1
Image:   a mosaic of the bundled photos, each cell one of them or a part of it, at one to four times its size; a JPEG.
Output:    one JSON line for each task; `peak_gib` is the largest resident size of its whole process, from its start
           over reading the file to the last full-size mask. Each task has a process of its own.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PHRASES = ("cat", "cup", "rocket", "a woman's face", "a red bus")
CELL = 1000


def write_mosaic(path: Path, side: int) -> None:
    import numpy as np
    from PIL import Image

    from promptseg.photos import find_photo

    rng = np.random.default_rng(0)
    photos = [Image.open(find_photo(name)).convert("RGB") for name in ("astronaut", "chelsea", "coffee", "rocket")]
    mosaic = Image.new("RGB", (side, side))
    for top in range(0, side, CELL):
        for left in range(0, side, CELL):
            photo = photos[rng.integers(len(photos))]
            scale = max(rng.uniform(1, 4), CELL / min(photo.size))
            large = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC)
            x, y = (int(rng.integers(0, length - CELL + 1)) for length in large.size)
            mosaic.paste(large.crop((x, y, x + CELL, y + CELL)), (left, top))
    mosaic.save(path, quality=92)


def find_phrases(path: Path, options: argparse.Namespace) -> dict[str, Any]:
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
    import promptseg

    masker = promptseg.load_masker("mobile-sam", input_side=options.masker_side)
    settings = promptseg.AutomaticSettings(points_per_side=options.points, stability_score_thresh=0.9)
    start = time.perf_counter()
    found = promptseg.segment_everything(
        masker,
        path,
        settings=settings,
        tiles=promptseg.Tiles(options.tile, options.tile // 4),
        limits=promptseg.ImageLimits(max_pixels=options.side**2),
    )
    (result,) = found
    share = float(result.mask.mean())
    return {
        "masks": len(result.instances),
        "share": round(share, 4),
        "seconds": round(time.perf_counter() - start, 1),
    }


def measure(task: str, path: Path, options: argparse.Namespace, connection: Any) -> None:
    import torch

    torch.set_num_threads(options.threads)
    facts = {"phrases": find_phrases, "everything": find_everything}[task](path, options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    connection.send(facts | {"peak_gib": round(peak / 2**30, 2)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=10_000, help="of the image, pixels")
    parser.add_argument("--tile", type=int, default=1024, help="side of a tile")
    parser.add_argument("--task", choices=("phrases", "everything"), action="append", help="default: both")
    parser.add_argument("--engine", default="auto", help="of the model that finds phrases")
    parser.add_argument("--points", type=int, default=8, help="automatic masks: points along each side of a tile")
    parser.add_argument("--masker-side", type=int, default=512, help="automatic masks: pixels that the masker sees")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "mosaic.jpg"
        context = multiprocessing.get_context("spawn")
        # In a process of its own, like the tasks: none inherits another's peak.
        writer = context.Process(target=write_mosaic, args=(path, options.side))
        writer.start()
        writer.join()
        for task in options.task or ("phrases", "everything"):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=measure, args=(task, path, options, sender))
            process.start()
            sender.close()
            facts = receiver.recv()
            process.join()
            setting = {"task": task, "side": options.side, "tile": options.tile, "threads": options.threads}
            sys.stdout.write(json.dumps(setting | facts) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

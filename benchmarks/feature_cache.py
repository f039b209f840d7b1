"""What the feature cache saves: training steps on images compared with steps on cached features of the frozen tower.

Command:  python benchmarks/feature_cache.py     (one thread, no downloads: towers with random weights, drawn images)
Output:   one JSON line for each setting: CPU seconds of a step (forward, backward, update, and making the batch) both
          ways, and their ratio; the same for the batch and the tower alone; megabytes of one view; and the epochs
          after which filling the cache has paid.
"""

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from promptseg.data.sample import Sample, Target
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg_s1.config import PromptSegS1Config
from promptseg.ops.rle import encode_rle

# Every import of something heavy is in the function that needs it, so that --help answers at once.
if TYPE_CHECKING:
    from promptseg.train.objectives import PhraseNetwork
    from promptseg.train.samples import PhraseBatch, PhraseSource

NUM_IMAGES, BATCH = 8, 4
SETTINGS: dict[str, PromptSegConfig | PromptSegS1Config] = {
    "EfficientNet-Lite2, 512 px, pyramid and dense head": PromptSegConfig(
        image_tower="efficientnet-lite2", image_layers=(8, 16, 32, "head"), text_tower="bytes-test", image_size=512,
        fine_stride=8,
    ),
    "DINOv2-S, 224 px, S1's neck and decoder": PromptSegS1Config(
        image_tower="dinov2-small", image_layers=(3, 6, 9, 11), text_tower="bytes-test", image_size=224,
    ),
    "DINOv2-B, 224 px, S1's neck and decoder": PromptSegS1Config(
        image_tower="dinov2-base", image_layers=(3, 6, 9, 11), text_tower="bytes-test", image_size=224,
    ),
}  # fmt: skip


def draw_sample(number: int) -> Sample:
    """Draw a JPEG of 480 x 640 pixels with blobs of color, and a box in it."""
    rng = np.random.default_rng(number)
    blobs = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((640, 480))
    stream = io.BytesIO()
    blobs.save(stream, "JPEG", quality=90)
    mask = np.zeros((480, 640), dtype=bool)
    mask[100:300, 200:420] = True
    return Sample(str(number), stream.getvalue(), (480, 640), (Target("blob", masks=(encode_rle(mask),)),))


def cpu_seconds(work: Callable[[int], object], num_steps: int) -> float:
    """Give the median over some repetitions, after one that is not counted."""
    work(0)
    times = []
    for repetition in range(1, num_steps + 1):
        start = time.process_time()
        work(repetition)
        times.append(time.process_time() - start)
    return median(times)


def measure(config: PromptSegConfig | PromptSegS1Config, root: Path, num_steps: int) -> dict[str, float]:
    """Time both ways of one setting."""
    import torch

    from promptseg.models.build import build_network
    from promptseg.models.clipseg.network import ClipSeg
    from promptseg.train.config import TrainConfig
    from promptseg.train.objectives import LossWeights, cache_phrase_features, phrase_step
    from promptseg.train.optim import build_optimizer, set_train_mode
    from promptseg.train.recipe import CacheOptions
    from promptseg.train.samples import PhraseSource, SampleOptions

    torch.manual_seed(0)
    network = build_network(config)
    assert not isinstance(network, ClipSeg)  # no setting is a CLIPSeg
    side = config.image_size
    options = SampleOptions(image_hw=(side, side), mask_hw=(side // 4, side // 4), horizontal_flip=0.5)
    live = PhraseSource([draw_sample(number) for number in range(NUM_IMAGES)], options)
    start = time.process_time()
    cached = cache_phrase_features(network, live, CacheOptions(root))
    filling = time.process_time() - start
    set_train_mode(network)
    optimizer = build_optimizer(network, TrainConfig(steps=1))
    step = phrase_step(LossWeights())

    def batch(source: "PhraseSource", repetition: int) -> "PhraseBatch":
        indices = [(repetition * BATCH + i) % NUM_IMAGES for i in range(BATCH)]
        return source.collate([source.item(i, np.random.default_rng((repetition, i))) for i in indices])

    def train_step(source: "PhraseSource") -> Callable[[int], object]:
        def run(repetition: int) -> None:
            step(network, batch(source, repetition))["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()

        return run

    with_tower, with_cache = cpu_seconds(train_step(live), num_steps), cpu_seconds(train_step(cached), num_steps)
    features_live = cpu_seconds(lambda repetition: run_tower(network, batch(live, repetition)), num_steps)
    features_cached = cpu_seconds(
        lambda repetition: [level.float() for level in batch(cached, repetition).maps or ()], num_steps
    )
    num_views = len(cached.views())
    return {
        "step_seconds": with_tower,
        "step_seconds_cached": with_cache,
        "step_ratio": with_tower / with_cache,
        "features_seconds": features_live,
        "features_seconds_cached": features_cached,
        "features_ratio": features_live / features_cached,
        "megabytes_a_view": sum(path.stat().st_size for path in root.rglob("*.safetensors")) / num_views / 1e6,
        "epochs_to_pay": filling / (num_views / 2 / BATCH * (with_tower - with_cache)),
    }


def run_tower(network: "PhraseNetwork", batch: "PhraseBatch") -> None:
    """Do what a step on images does before the trained part."""
    import torch

    from promptseg.train.batch import normalize_images

    assert batch.images_rgb is not None
    with torch.no_grad():
        network.image_tower(normalize_images(batch.images_rgb, network.image_tower))


def main() -> None:
    """Measure every setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    towers = [config.image_tower for config in SETTINGS.values()]
    parser.add_argument("--towers", nargs="+", choices=towers, default=towers, help="settings, by image tower")
    parser.add_argument("--steps", type=int, default=5, help="repetitions that are timed")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    for name, config in SETTINGS.items():
        if config.image_tower not in options.towers:
            continue
        with tempfile.TemporaryDirectory() as root:
            figures = measure(config, Path(root), options.steps)
        result = {key: float(f"{value:.3g}") for key, value in figures.items()}
        line = {"setting": name, "batch": BATCH, "torch": torch.__version__, **result}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

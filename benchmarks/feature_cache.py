"""What the feature cache saves: training steps on images against steps on cached features of the frozen tower.

Command:  python benchmarks/feature_cache.py     (one thread, no downloads: towers with random weights, drawn images)
Prints one JSON line a setting: CPU seconds a step (forward, backward, update, and making the batch), both ways; their
ratio; the same for the batch and the tower alone; megabytes a view; steps after which filling the cache has paid.
"""

import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from promptseg.data.sample import Sample, Target
from promptseg.models.promptseg.config import DenseConfig, PromptSegConfig
from promptseg.models.promptseg.network import PromptSeg
from promptseg.models.registry import build_model
from promptseg.ops.rle import encode_rle
from promptseg.train.cache import normalize
from promptseg.train.config import TrainConfig
from promptseg.train.objectives import LossWeights, cache_phrase_features, phrase_step
from promptseg.train.optim import build_optimizer, set_train_mode
from promptseg.train.recipe import CacheOptions
from promptseg.train.samples import PhraseBatch, PhraseSource, SampleOptions

NUM_IMAGES, BATCH, NUM_STEPS = 8, 4, 5
SETTINGS = {
    "EfficientNet-Lite2, 512 px, pyramid and dense head": PromptSegConfig(
        image_tower="efficientnet-lite2", image_layers=(8, 16, 32, "head"), text_tower="bytes-test", image_size=512,
        fine_stride=8, dense=DenseConfig(), decoder_depth=0,
    ),
    "DINOv2-S, 224 px, S1's neck and decoder": PromptSegConfig(
        image_tower="dinov2-small", image_layers=(3, 6, 9, 11), text_tower="bytes-test", image_size=224,
    ),
    "DINOv2-B, 224 px, S1's neck and decoder": PromptSegConfig(
        image_tower="dinov2-base", image_layers=(3, 6, 9, 11), text_tower="bytes-test", image_size=224,
    ),
}  # fmt: skip


def draw_sample(number: int) -> Sample:
    """A JPEG of 480 x 640 with blobs of color, and a box in it."""
    rng = np.random.default_rng(number)
    blobs = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((640, 480))
    stream = io.BytesIO()
    blobs.save(stream, "JPEG", quality=90)
    mask = np.zeros((480, 640), dtype=bool)
    mask[100:300, 200:420] = True
    return Sample(str(number), stream.getvalue(), (480, 640), (Target("blob", masks=(encode_rle(mask),)),))


def cpu_seconds(work: Callable[[int], object]) -> float:
    """Median over some repetitions, after one that is not counted."""
    work(0)
    times = []
    for repetition in range(1, NUM_STEPS + 1):
        start = time.process_time()
        work(repetition)
        times.append(time.process_time() - start)
    return median(times)


def measure(config: PromptSegConfig, root: Path) -> dict[str, float]:
    """Time both ways of one setting."""
    torch.manual_seed(0)
    model = build_model(config)
    side = config.image_size
    options = SampleOptions(image_hw=(side, side), mask_hw=(side // 4, side // 4), mirror=0.5)
    live = PhraseSource([draw_sample(number) for number in range(NUM_IMAGES)], options)
    start = time.process_time()
    cached = cache_phrase_features(model, live, CacheOptions(root))
    filling = time.process_time() - start
    set_train_mode(model)
    optimizer = build_optimizer(model, TrainConfig(steps=1))
    step = phrase_step(LossWeights())

    def batch(source: PhraseSource, repetition: int) -> PhraseBatch:
        indices = [(repetition * BATCH + i) % NUM_IMAGES for i in range(BATCH)]
        return source.collate([source.item(i, np.random.default_rng((repetition, i))) for i in indices])

    def train_step(source: PhraseSource) -> Callable[[int], object]:
        def run(repetition: int) -> None:
            step(model, batch(source, repetition))["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()

        return run

    with_tower, with_cache = cpu_seconds(train_step(live)), cpu_seconds(train_step(cached))
    features_live = cpu_seconds(lambda repetition: run_tower(model, batch(live, repetition)))
    features_cached = cpu_seconds(lambda repetition: [m.float() for m in batch(cached, repetition).maps or ()])
    num_views = len(cached.views())
    return {
        "step_seconds": with_tower,
        "step_seconds_cached": with_cache,
        "step_ratio": with_tower / with_cache,
        "features_seconds": features_live,
        "features_seconds_cached": features_cached,
        "features_ratio": features_live / features_cached,
        "megabytes_a_view": sum(p.stat().st_size for p in root.rglob("*.safetensors")) / num_views / 1e6,
        "epochs_to_pay": filling / (num_views / 2 / BATCH * (with_tower - with_cache)),
    }


@torch.no_grad()
def run_tower(model: PromptSeg, batch: PhraseBatch) -> None:
    """What a step on images does before the trained part."""
    assert batch.images_rgb is not None
    model.image_tower(normalize(batch.images_rgb, model.image_tower))


def main() -> None:
    """Measure every setting."""
    torch.set_num_threads(1)
    for name, config in SETTINGS.items():
        with tempfile.TemporaryDirectory() as root:
            result = {key: float(f"{value:.3g}") for key, value in measure(config, Path(root)).items()}
        line = {"setting": name, "batch": BATCH, "torch": torch.__version__, **result}
        print(json.dumps(line))  # noqa: T201


if __name__ == "__main__":
    main()

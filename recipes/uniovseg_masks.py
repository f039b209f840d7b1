"""The first stage of Uni-OVSeg (arXiv:2402.08960): masks of points and boxes, from masks without names.

Command:   python -c "from pathlib import Path; from promptseg.models.uniovseg.files import save_start; \
save_start(Path('open_clip_pytorch_model.safetensors'), Path('uniovseg-start'))"
           promptseg train recipes/uniovseg_masks.py --data sa1b --out runs/uniovseg-masks --init uniovseg-start \
--devices 8
           (--data: folders of SA-1B; the OpenCLIP file is that of the model hub's
           laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup; a resumed run needs --init again)
Hardware:  published: 56 V100 with 32 GB. Give --devices; a batch of 56 images is shared by all.
Expected:  published: point and box masks above SAM ViT-L on most of 11 data sets, such as +20.1 IoU on COCO. Not
           reproduced by us: neither SA-1B nor the towers' weights were available. recipes' tests run 20 steps on drawn
           images with a tiny model, whose loss falls.

As published: a random 30 % of SA-1B; 1024 px; batches of 56; AdamW, learning rate 1e-4, weight decay .05; 60,000 steps;
cross-entropy 2 : Dice 1, at 12,544 points, after each of six decoder layers and before the first. From the authors'
released configuration, where the paper is silent: the learning rate drops to a tenth after 85 % and 95 % of the run;
gradient norm 1.0; mixed precision; no decay of norms and embeddings; scale .8 to 1.2, flips, colors; a jittered grid of
10 x 10 points; at most 40 masks of an image, between .01 % and 80 % of it; score loss 1. Ours: boxes of the masks are
prompts in each step too; one image in `VALIDATION_SHARE` of the subset is held out, of which `NUM_VALIDATION` are
measured.
"""

from collections.abc import Sequence
from pathlib import Path

from promptseg.data.sa1b import Sa1b, find_sa1b
from promptseg.data.sample import Sample
from promptseg.train.config import TrainConfig
from promptseg.train.recipe import Recipe
from promptseg.train.unpaired.mask_training import MaskTraining

SUBSET = 0.3
VALIDATION_SHARE = 100
NUM_VALIDATION = 100


def read(data_dir: Path, pseudo_dir: Path | None) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Find the images of SA-1B, draw the subset and hold out some images; pseudo-masks are not used."""
    subset = find_sa1b(data_dir).subset(SUBSET)
    held_out = subset.paths[::VALIDATION_SHARE]
    kept = set(subset.paths) - set(held_out)
    train = Sa1b(tuple(path for path in subset.paths if path in kept))
    return train, Sa1b(held_out[:NUM_VALIDATION])


TRAINING = MaskTraining(
    config=TrainConfig(
        steps=60_000,
        batch_size=56,
        learning_rate=1e-4,
        weight_decay=0.05,
        undecayed=("prompts.", "pixel_decoder.level_codes", "mask_decoder.level_codes"),
        lr_drops=(0.85, 0.95),
        clip_norm=1.0,
        precision="16-mixed",
        evaluate_every=5000,
        checkpoint_every=1000,
        log_every=20,
        seed=42,
        num_workers=4,
    ),
    read=read,
)


def recipe() -> Recipe:
    """Return the recipe that `promptseg train` runs."""
    return TRAINING.recipe()

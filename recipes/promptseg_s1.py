"""The published PromptSeg (S1) and its hyperparameters: DINOv2-base and CLIP ViT-B/16 frozen, FPN and decoder trained.

Command:   promptseg train recipes/promptseg_s1.py --data refcoco-m --out runs/s1 --cache cache/s1
           (--data: the public data set moondream/refcoco-m, a directory with its Parquet files)
Hardware:  one GPU of 16 GB; the towers' weights come from the model hub (0.7 GB, fetched the first time)
Expected:  published: validation IoU .29 after epoch 1, best .4167 at epoch 13, .39 at epoch 20; mean .4166,
           median .3899, IoU@0.5 36.71 %, precision .4603, recall .6622. Not reproduced by us: neither the hub nor the
           data set was available. Expect less: the published split has phrases of one image on both sides, ours is
           by image.

As published: AdamW, betas (0.9, 0.999), weight decay 1e-2; decoder 2e-4, FPN half of it; cosine with a linear warm-up
of 2 epochs; batches of 32; 20 epochs; gradient norm 1.0; mixed precision (bfloat16; float16 would be "16-mixed");
two-way blocks from SAM's mask decoder (the weight record `sam-decoder`).

Ours, where the publication gives no details: the loss is cross-entropy + Dice + 0.1 x squared error of the predicted
IoU; there are no absent phrases, so that presence is always predicted; an epoch visits each (image, sentence) three
times (the published 16,794 samples are 3 x 5,598 sentences), flipped horizontally half of the time if the sentence
allows it; biases and norms don't decay. The published 473 steps an epoch are those of its own split.

Early stopping: the published run overfits from epoch 13 on (validation loss .70 at epoch 10, .86 at epoch 20). So it
stops after 5 epochs without a better validation IoU; `best` is the model to use, `final` is kept to compare.
"""

from pathlib import Path

from safetensors.torch import load_file

from promptseg import weights
from promptseg.data.refcoco_m import read_refcoco_m
from promptseg.layers.mask_decoder import load_sam_decoder
from promptseg.models.build import build_pretrained
from promptseg.models.promptseg_s1.config import PromptSegS1Config
from promptseg.models.promptseg_s1.network import PromptSegS1Network
from promptseg.models.registry import find_row
from promptseg.train.config import TrainConfig
from promptseg.train.objectives import (
    LossWeights,
    cache_phrase_features,
    examine_phrases,
    phrase_step,
    validate_phrases,
)
from promptseg.train.recipe import Recipe
from promptseg.train.samples import PhraseSource, SampleOptions, one_phrase_each

OPTIONS = SampleOptions(image_hw=(224, 224), mask_hw=(224, 224), horizontal_flip=0.5, passes=3)


def build_model() -> PromptSegS1Network:
    """Build the published model on pretrained towers, its decoder from SAM's."""
    config = find_row("promptseg-s1").config
    assert isinstance(config, PromptSegS1Config)  # the row of the published model
    model = build_pretrained(config, pretrained=True)
    assert isinstance(model, PromptSegS1Network)  # as its config
    load_sam_decoder(model.decoder, load_file(weights.resolve("sam-decoder")))
    return model


def build_data(data_dir: Path, pseudo_dir: Path | None) -> tuple[PhraseSource, PhraseSource]:
    """Read RefCOCO-M, split by image; pseudo-masks are not used."""
    train = one_phrase_each(read_refcoco_m(data_dir, "train").samples)
    validation = one_phrase_each(read_refcoco_m(data_dir, "val").samples)
    return PhraseSource(train, OPTIONS), PhraseSource(validation, OPTIONS.plain())


def recipe() -> Recipe:
    """Return the recipe that `promptseg train` runs."""
    return Recipe(
        config=TrainConfig(
            epochs=20,
            batch_size=32,
            learning_rate=2e-4,
            lr_multipliers={"neck": 0.5},
            betas=(0.9, 0.999),
            weight_decay=1e-2,
            warmup_epochs=2,
            clip_norm=1.0,
            precision="bf16-mixed",
            patience=5,
            num_workers=4,
        ),
        build_model=build_model,
        build_data=build_data,
        step=phrase_step(LossWeights(bce=1.0, dice=1.0, absent=0.0, iou=0.1, presence=0.1)),
        validate=validate_phrases,
        examine=examine_phrases,
        cache_features=cache_phrase_features,
    )

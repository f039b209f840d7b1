"""Sentences around a name, for text towers that were trained on captions; the vectors of all of them are averaged."""

# Gu et al. 2022, "Open-vocabulary Object Detection via Vision and Language Knowledge Distillation", arXiv:2104.13921:
# the 14 sentences that mask classifiers on CLIP use, with their spelling.
VILD_TEMPLATES = (
    "a photo of a {}.",
    "This is a photo of a {}",
    "There is a {} in the scene",
    "There is the {} in the scene",
    "a photo of a {} in the scene",
    "a photo of a small {}.",
    "a photo of a medium {}.",
    "a photo of a large {}.",
    "This is a photo of a small {}.",
    "This is a photo of a medium {}.",
    "This is a photo of a large {}.",
    "There is a small {} in the scene.",
    "There is a medium {} in the scene.",
    "There is a large {} in the scene.",
)

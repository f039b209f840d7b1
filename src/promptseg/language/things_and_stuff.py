"""Tell things, which are counted one by one, from stuff, which has no countable instances, by tables and WordNet.

The tables are the panoptic classes of COCO, ADE20K and Cityscapes, in plain words. Where two of them differ ("door" is
stuff in COCO and a thing in ADE20K), the first one counts.

Source:
    Kirillov et al. 2019, "Panoptic Segmentation", arXiv:1801.00868, for the two terms; panopticapi
    panoptic_coco_categories.json @ 7bb4655; Mask2Former register_ade20k_panoptic.py @ 9b0651c; cityscapesScripts
    helpers/labels.py.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

from promptseg.language.class_names import COCO_THINGS
from promptseg.language.hypernyms import load_nouns
from promptseg.language.phrases import broader, canonical, normalize_phrase, singular, without_article

Decision = Literal["mark", "table", "wordnet", "default"]

COCO_STUFF: tuple[str, ...] = (
    "banner", "blanket", "bridge", "cardboard", "counter", "curtain", "door", "floor wood", "flower", "fruit",
    "gravel", "house", "light", "mirror", "net", "pillow", "platform", "playingfield", "railroad", "river", "road",
    "roof", "sand", "sea", "shelf", "snow", "stairs", "tent", "towel", "wall brick", "wall stone", "wall tile",
    "wall wood", "water", "window blind", "window", "tree", "fence", "ceiling", "sky", "cabinet", "table", "floor",
    "pavement", "mountain", "grass", "dirt", "paper", "food", "building", "rock", "wall", "rug",
)  # fmt: skip

ADE_STUFF: tuple[str, ...] = (
    "wall", "building", "sky", "floor", "tree", "ceiling", "road", "grass", "sidewalk", "earth", "ground", "mountain",
    "plant", "water", "house", "sea", "rug", "field", "rock", "base", "pedestal", "sand", "skyscraper", "grandstand",
    "path", "runway", "stairway", "river", "bridge", "blind", "hill", "bar", "hut", "tower", "dirt track", "land",
    "soil", "escalator", "buffet", "poster", "stage", "conveyor belt", "canopy", "pool", "waterfall", "tent", "cradle",
    "storage tank", "lake", "blanket", "pier", "crt screen", "shower",
)  # fmt: skip

ADE_THINGS: tuple[str, ...] = (
    "bed", "window", "cabinet", "person", "door", "table", "curtain", "chair", "car", "painting", "picture", "sofa",
    "shelf", "mirror", "armchair", "seat", "fence", "desk", "wardrobe", "lamp", "bathtub", "rail", "cushion", "box",
    "column", "pillar", "signboard", "sign", "chest of drawers", "counter", "sink", "fireplace", "refrigerator",
    "stairs", "showcase", "pool table", "pillow", "screen door", "bookcase", "coffee table", "toilet", "flower", "book",
    "bench", "stove", "palm tree", "kitchen island", "computer", "swivel chair", "boat", "arcade machine", "bus",
    "towel", "light", "truck", "chandelier", "awning", "street lamp", "booth", "tv", "airplane", "clothes", "pole",
    "bannister", "ottoman", "bottle", "van", "ship", "fountain", "washing machine", "toy", "stool", "barrel", "basket",
    "bag", "motorbike", "oven", "ball", "step", "trade name", "microwave", "pot", "animal", "bicycle", "dishwasher",
    "screen", "sculpture", "hood", "sconce", "vase", "traffic light", "tray", "trash can", "fan", "plate", "monitor",
    "bulletin board", "radiator", "glass", "clock", "flag",
)  # fmt: skip

CITYSCAPES_THINGS: tuple[str, ...] = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
CITYSCAPES_STUFF: tuple[str, ...] = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky",
)  # fmt: skip

# Everyday words that no table has and WordNet does not tell.
MORE_STUFF: tuple[str, ...] = (
    "asphalt", "beard", "concrete", "crowd", "fire", "forest", "fur", "hair", "puddle", "skin", "tile", "trash",
)  # fmt: skip

# The nearest of these words above a noun in WordNet decides.
_THING_HYPERNYMS = frozenset((
    "instrumentality", "animal", "person", "clothing", "food", "foodstuff", "fruit", "body part", "creation",
    "plant part", "commodity", "part", "decoration", "flower",
))  # fmt: skip
_STUFF_HYPERNYMS = frozenset((
    "substance", "matter", "material", "fabric", "surface", "region", "location", "way", "structure", "floor cover",
    "geological formation", "natural elevation", "body of water", "phenomenon", "natural phenomenon", "plant",
    "vegetation", "collection", "land", "facility", "area", "opening", "sky",
))  # fmt: skip


def decide_kind(names: Iterable[str]) -> tuple[bool, Decision]:
    """Decide whether a class is a thing.

    Args:
        names: Its names in any spelling, the label first; the first name that is known decides.

    Returns:
        Whether it is a thing, and what says so ("default": nothing, so that it counts as a thing).

    Example:
        >>> decide_kind(["cars"]), decide_kind(["meadow"]), decide_kind(["blorp", "sofa"]), decide_kind(["blorp"])
        ((True, 'table'), (False, 'wordnet'), (True, 'table'), (True, 'default'))
    """
    spelled = tuple(dict.fromkeys(form for name in names for form in _forms(name)))
    for form in spelled:
        for known in (form, *sorted(broader(form), key=lambda one: -len(broader(one)))):
            if known in _TABLE:
                return _TABLE[known], "table"
    for form in spelled:
        is_thing = _decide_by_wordnet(form)
        if is_thing is not None:
            return is_thing, "wordnet"
    return True, "default"


def _forms(name: str) -> Iterator[str]:
    """Yield a name in the spellings of the tables, then its last words: an "old oak tree" is a tree."""
    words = without_article(normalize_phrase(name)).split(" of ")[0].split(" ")
    for start in range(len(words)):
        tail = " ".join(words[start:])
        yield from (tail, canonical(tail), singular(tail))


def _decide_by_wordnet(name: str) -> bool | None:
    nouns = load_nouns()
    if name not in nouns.meaning_of:
        return None
    meaning = nouns.meaning_of[name]
    for row in (meaning, *nouns.above(meaning)):
        words = set(nouns.words[row])
        if words & _THING_HYPERNYMS:
            return True
        if words & _STUFF_HYPERNYMS:
            return False
    return None


def _build_table() -> dict[str, bool]:
    table: dict[str, bool] = {}
    for names, is_thing in (
        (COCO_THINGS, True),
        (COCO_STUFF, False),
        (ADE_STUFF, False),
        (ADE_THINGS, True),
        (CITYSCAPES_STUFF, False),
        (CITYSCAPES_THINGS, True),
        (MORE_STUFF, False),
    ):
        for name in names:
            table.setdefault(name, is_thing)
    return table


_TABLE = _build_table()

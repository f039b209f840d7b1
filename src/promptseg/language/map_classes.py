"""The classes of published benchmarks of maps, with synonyms, in the order of their files.

COCO's 53 stuff classes are in plain words ("sky-other-merged" is "sky"). ADE20K's synonyms are its own.

Source:
    panopticapi panoptic_coco_categories.json @ 7bb4655; CSAILVision/sceneparsing objectInfo150.txt;
    cityscapesScripts helpers/labels.py; the 59 classes of Pascal Context as in Mottaghi et al. 2014.
"""

from promptseg.language.class_list import NamedClass, parse_class_list
from promptseg.language.class_names import COCO_THINGS, VOC_NAMES

# COCO's own names of its stuff, by which its panoptic JSON calls it.
COCO_STUFF_NAMES: dict[str, str] = {
    "banner": "banner", "blanket": "blanket", "bridge": "bridge", "cardboard": "cardboard", "counter": "counter",
    "curtain": "curtain", "door-stuff": "door", "floor-wood": "floor wood, wooden floor", "flower": "flower",
    "fruit": "fruit", "gravel": "gravel", "house": "house", "light": "light", "mirror-stuff": "mirror", "net": "net",
    "pillow": "pillow", "platform": "platform", "playingfield": "playingfield, sports field", "railroad": "railroad",
    "river": "river", "road": "road", "roof": "roof", "sand": "sand", "sea": "sea", "shelf": "shelf", "snow": "snow",
    "stairs": "stairs", "tent": "tent", "towel": "towel", "wall-brick": "wall brick, brick wall",
    "wall-stone": "wall stone, stone wall", "wall-tile": "wall tile, tiled wall",
    "wall-wood": "wall wood, wooden wall", "water-other": "water", "window-blind": "window blind",
    "window-other": "window", "tree-merged": "tree", "fence-merged": "fence", "ceiling-merged": "ceiling",
    "sky-other-merged": "sky", "cabinet-merged": "cabinet", "table-merged": "table", "floor-other-merged": "floor",
    "pavement-merged": "pavement, sidewalk", "mountain-merged": "mountain", "grass-merged": "grass",
    "dirt-merged": "dirt", "paper-merged": "paper", "food-other-merged": "food", "building-other-merged": "building",
    "rock-merged": "rock", "wall-other-merged": "wall", "rug-merged": "rug",
}  # fmt: skip

ADE20K_150: tuple[str, ...] = (
    "wall [stuff]", "building, edifice [stuff]", "sky [stuff]", "floor, flooring [stuff]", "tree [stuff]",
    "ceiling [stuff]", "road, route [stuff]", "bed [thing]", "windowpane, window [thing]", "grass [stuff]",
    "cabinet [thing]", "sidewalk, pavement [stuff]", "person [thing]", "earth, ground [stuff]",
    "door, double door [thing]", "table [thing]", "mountain, mount [stuff]", "plant, flora [stuff]",
    "curtain, drape [thing]", "chair [thing]", "car, automobile [thing]", "water [stuff]", "painting, picture [thing]",
    "sofa, couch, lounge [thing]", "shelf [thing]", "house [stuff]", "sea [stuff]", "mirror [thing]",
    "rug, carpet [stuff]", "field [stuff]", "armchair [thing]", "seat [thing]", "fence, fencing [thing]",
    "desk [thing]", "rock, stone [stuff]", "wardrobe, closet [thing]", "lamp [thing]", "bathtub, tub [thing]",
    "railing, rail [thing]", "cushion [thing]", "base, pedestal [stuff]", "box [thing]", "column, pillar [thing]",
    "signboard, sign [thing]", "chest of drawers, dresser [thing]", "counter [thing]", "sand [stuff]", "sink [thing]",
    "skyscraper [stuff]", "fireplace, hearth [thing]", "refrigerator, icebox [thing]",
    "grandstand, covered stand [stuff]", "path [stuff]", "stairs, steps [thing]", "runway [stuff]",
    "display case, showcase [thing]", "pool table, billiard table [thing]", "pillow [thing]", "screen door [thing]",
    "stairway, staircase [stuff]", "river [stuff]", "bridge, span [stuff]", "bookcase [thing]", "blind [stuff]",
    "coffee table, cocktail table [thing]", "toilet, commode [thing]", "flower [thing]", "book [thing]",
    "hill [stuff]", "bench [thing]", "countertop [thing]", "stove, kitchen stove [thing]", "palm, palm tree [thing]",
    "kitchen island [thing]", "computer [thing]", "swivel chair [thing]", "boat [thing]", "bar [stuff]",
    "arcade machine [thing]", "hovel, hut, shack [stuff]", "bus [thing]", "towel [thing]", "light [thing]",
    "truck [thing]", "tower [stuff]", "chandelier [thing]", "awning, sunshade [thing]",
    "streetlight, street lamp [thing]", "booth, kiosk [thing]", "television, tv [thing]", "airplane, plane [thing]",
    "dirt track [stuff]", "apparel, clothes [thing]", "pole [thing]", "land, soil [stuff]",
    "bannister, balustrade [thing]", "escalator, moving staircase [stuff]", "ottoman, pouf [thing]", "bottle [thing]",
    "buffet, sideboard [stuff]", "poster, placard [stuff]", "stage [stuff]", "van [thing]", "ship [thing]",
    "fountain [thing]", "conveyer belt, conveyor belt [stuff]", "canopy [stuff]", "washer, washing machine [thing]",
    "plaything, toy [thing]", "swimming pool, pool [stuff]", "stool [thing]", "barrel, cask [thing]",
    "basket, handbasket [thing]", "waterfall, falls [stuff]", "tent, collapsible shelter [stuff]", "bag [thing]",
    "minibike, motorbike [thing]", "cradle [stuff]", "oven [thing]", "ball [thing]", "food, solid food [thing]",
    "step, stair [thing]", "tank, storage tank [stuff]", "trade name, brand [thing]", "microwave [thing]",
    "pot, flowerpot [thing]", "animal [thing]", "bicycle [thing]", "lake [stuff]", "dishwasher [thing]",
    "screen, projection screen [thing]", "blanket, cover [stuff]", "sculpture [thing]", "hood, exhaust hood [thing]",
    "sconce [thing]", "vase [thing]", "traffic light [thing]", "tray [thing]", "ashcan, trash can [thing]",
    "fan [thing]", "pier, wharf [stuff]", "crt screen [stuff]", "plate [thing]", "monitor [thing]",
    "bulletin board [thing]", "shower [stuff]", "radiator [thing]", "glass, drinking glass [thing]", "clock [thing]",
    "flag [thing]",
)  # fmt: skip

# (number in labelIds.png, class)
CITYSCAPES: tuple[tuple[int, str], ...] = (
    (7, "road [stuff]"), (8, "sidewalk [stuff]"), (11, "building [stuff]"), (12, "wall [stuff]"),
    (13, "fence [stuff]"), (17, "pole [stuff]"), (19, "traffic light [stuff]"), (20, "traffic sign [stuff]"),
    (21, "vegetation, tree [stuff]"), (22, "terrain, grass [stuff]"), (23, "sky [stuff]"),
    (24, "person, pedestrian [thing]"), (25, "rider, bicyclist [thing]"), (26, "car [thing]"), (27, "truck [thing]"),
    (28, "bus [thing]"), (31, "train [thing]"), (32, "motorcycle [thing]"), (33, "bicycle [thing]"),
)  # fmt: skip

PASCAL_CONTEXT_59: tuple[str, ...] = (
    "airplane", "bag", "bed", "bedclothes", "bench", "bicycle", "bird", "boat", "book", "bottle", "building", "bus",
    "cabinet", "car", "cat", "ceiling", "chair", "cloth", "computer", "cow", "cup", "curtain", "dog", "door", "fence",
    "floor", "flower", "food", "grass", "ground", "horse", "keyboard", "light", "motorcycle", "mountain", "mouse",
    "person", "plate", "platform", "potted plant", "road", "rock", "sheep", "shelves", "sidewalk", "sign", "sky",
    "snow", "sofa", "table", "track", "train", "tree", "truck", "tv", "wall", "water", "window", "wood",
)  # fmt: skip


def coco_classes() -> dict[str, NamedClass]:
    """Give COCO's 133 panoptic classes by the names that its JSON has."""
    stuff = {name: f"{words} [stuff]" for name, words in COCO_STUFF_NAMES.items()}
    things = {name: f"{name} [thing]" for name in COCO_THINGS}
    return dict(zip([*things, *stuff], parse_class_list([*things.values(), *stuff.values()]), strict=True))


def voc_classes(*, background: bool) -> tuple[NamedClass, ...]:
    """Give the 20 classes of Pascal VOC in plain words, after "background" where it is one of them."""
    return parse_class_list([*(["background [stuff]"] if background else []), *VOC_NAMES])

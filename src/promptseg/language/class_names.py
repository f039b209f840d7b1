"""The closed name lists of public data sets, in one spelling (COCO's)."""

COCO_THINGS: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis",
    "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier",
    "toothbrush",
)  # fmt: skip

VOC_NAMES: tuple[str, ...] = (
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog",
    "horse", "motorcycle", "person", "potted plant", "sheep", "couch", "train", "tv",
)  # fmt: skip

CAMVID_NAMES: tuple[str, ...] = (
    "sky", "building", "pole", "road", "pavement", "tree", "traffic sign", "fence", "car", "pedestrian",
    "bicyclist",
)  # fmt: skip

# How an index names a closed list in its `exhaustive` field; any other text there is a comma-separated list of names.
NAME_LISTS: dict[str, tuple[str, ...]] = {"80 COCO things": COCO_THINGS, "20 VOC classes": VOC_NAMES}

# Sets whose things are complete although their records do not say so.
EXHAUSTIVE_SETS: dict[str, tuple[str, ...]] = {"coco_dev": COCO_THINGS, "coco_train": COCO_THINGS}

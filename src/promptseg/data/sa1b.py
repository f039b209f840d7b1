"""Reader of SA-1B: images with masks that have no names.

    sa_N.jpg    the image
    sa_N.json   {image {image_id, width, height, file_name},
                 annotations [{id, segmentation (COCO's run-length code), bbox, area, predicted_iou, stability_score,
                               crop_box, point_coords}]}

Files of one pair lie in one folder; folders (sa_000000/, ...) may be nested. An annotation file is read when its image
is asked for: the whole data set has 11 million.

Source:
    Kirillov et al. 2023, "Segment Anything", arXiv:2304.02643.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np

from promptseg.data.coco_instances import annotation_rle
from promptseg.data.jsonl import Line
from promptseg.data.layout import lines_of, load_json
from promptseg.data.sample import Problem, Sample, Target
from promptseg.errors import DataError

SOURCE = "https://ai.meta.com/datasets/segment-anything"
LICENCE = "SA-1B Dataset Research License"
# All masks of an image are one target: they have no names.
NAMELESS = "object"


@dataclass(frozen=True)
class Sa1b(Sequence[Sample]):
    """The images of a folder; `sa1b[i]` reads the i-th annotation file.

    Attributes:
        paths: The images, in order of their paths.
        problems: Images without an annotation file, and annotation files without an image.
    """

    paths: tuple[Path, ...]
    problems: tuple[Problem, ...] = field(default=())

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "Sa1b": ...
    def __getitem__(self, index: int | slice) -> "Sample | Sa1b":
        """Read one image's annotations, or take some of the images.

        Raises:
            DataError: The annotation file is malformed; the message names it.
        """
        if isinstance(index, slice):
            return Sa1b(self.paths[index])
        return _read_sample(self.paths[index])

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def subset(self, share: float, *, seed: int = 0) -> "Sa1b":
        """Draw a share of the images, such as the 30 % that Uni-OVSeg is trained on.

        Raises:
            DataError: The share is not in (0, 1].
        """
        if not 0.0 < share <= 1.0:
            raise DataError(f"a share of SA-1B is in (0, 1], not {share}")
        count = max(1, round(share * len(self)))
        chosen = np.random.default_rng(seed).choice(len(self), size=count, replace=False)
        return Sa1b(tuple(self.paths[index] for index in sorted(chosen)))


def find_sa1b(root: Path) -> Sa1b:
    """Find the images of SA-1B in a folder and the folders in it.

    Raises:
        DataError: There is no image with an annotation file.
    """
    images, annotations = (
        {path.with_suffix("") for path in root.rglob(f"sa_*{suffix}")} for suffix in (".jpg", ".json")
    )
    problems = [Problem(f"{stem}.jpg", "no annotation file beside it") for stem in sorted(images - annotations)]
    problems += [Problem(f"{stem}.json", "no image beside it") for stem in sorted(annotations - images)]
    if not images & annotations:
        first = f"; for one, {problems[0]}" if problems else ""
        raise DataError(f"SA-1B in {root}: no pair of sa_N.jpg and sa_N.json{first}. Get it from {SOURCE}")
    return Sa1b(tuple(stem.with_suffix(".jpg") for stem in sorted(images & annotations)), tuple(problems))


def _read_sample(path: Path) -> Sample:
    annotation_file = path.with_suffix(".json")
    content = load_json(annotation_file)
    if not isinstance(content, dict):
        raise DataError(f"{annotation_file}: expected an object with 'image' and 'annotations'")
    line = Line(str(annotation_file), content)
    size_hw = Line(f"{annotation_file}, image", line.require(content, "image", dict)).size_hw()
    annotations = list(lines_of(content.get("annotations"), f"{annotation_file}, annotations"))
    scores = [float(each.require(each.record, "predicted_iou", (int, float))) for each in annotations]
    target = Target(
        phrase=NAMELESS,
        kind="part",  # a mask may be a part, a whole or a group
        masks=tuple(annotation_rle(each, size_hw) for each in annotations),
        source="sa1b",
        score=min(max(float(np.mean(scores)), 0.0), 1.0) if scores else 1.0,
    )
    return Sample(
        sample_id=path.stem,
        image=path,
        size_hw=size_hw,
        targets=(target,) if annotations else (),
        dataset="sa1b",
        license=LICENCE,
    )

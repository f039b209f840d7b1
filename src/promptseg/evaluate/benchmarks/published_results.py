"""Published results on these benchmarks, in percent, with the source of every row.

`_paper` numbers are CLIPSeg's own definitions; where a table mixes them with figures copied from other papers, those
stand under the name of the plain definition. Nothing here was measured by this project.
"""

from collections.abc import Mapping
from dataclasses import dataclass

UNI_OVSEG = "arXiv:2402.08960, tables of the first version"
FC_CLIP = "bytedance/fc-clip README"
CLIPSEG = "arXiv:2112.10003v2"


@dataclass(frozen=True)
class PublishedRow:
    """One row of somebody's table.

    Attributes:
        benchmark: A name of `benchmark_table.BENCHMARKS`.
        split: One of its splits.
        prompt: "text" or "exemplar".
        model: As its authors call it.
        source: Where the figures stand.
        threshold: Probability at which masks were cut; None: not stated, or of no meaning.
        values: In percent, by the name of the number, without its threshold.
    """

    benchmark: str
    split: str
    prompt: str
    model: str
    source: str
    threshold: float | None
    values: Mapping[str, float]


def find_published(benchmark: str, split: str, prompt: str) -> tuple[PublishedRow, ...]:
    """List the published results of exactly this split and kind of prompt."""
    key = (benchmark, split, prompt)
    return tuple(row for row in PUBLISHED if (row.benchmark, row.split, row.prompt) == key)


def _phrasecut(model: str, threshold: float, *values: float) -> PublishedRow:
    numbers = dict(zip(("miou_paper", "iou_fg_paper", "ap_paper"), values, strict=True))
    return PublishedRow("phrasecut", "test", "text", model, f"{CLIPSEG}, table 3", threshold, numbers)


def _phrasecut_others(model: str, source: str, **values: float) -> PublishedRow:
    return PublishedRow("phrasecut", "test", "text", model, source, None, values)


def _one_shot(benchmark: str, prompt: str, table: int, model: str, threshold: float, *values: float) -> PublishedRow:
    numbers = dict(zip(("miou_paper", "iou_bin_paper", "ap_paper"), values, strict=True))
    return PublishedRow(benchmark, "val", prompt, model, f"{CLIPSEG}, table {table}", threshold, numbers)


def _one_shot_others(benchmark: str, prompt: str, table: int, model: str, *values: float) -> PublishedRow:
    numbers = dict(zip(("miou", "fb_iou"), values, strict=False))
    return PublishedRow(benchmark, "val", prompt, model, f"cited in {CLIPSEG}, table {table}", None, numbers)


def _zero_shot(num_unseen: int, model: str, seen: float, unseen: float, *, paper: bool = False) -> PublishedRow:
    suffix = "_paper" if paper else ""
    numbers = {f"miou_seen{suffix}": seen, f"miou_unseen{suffix}": unseen}
    source = f"{CLIPSEG}, table 4" if paper else f"cited in {CLIPSEG}, table 4"
    return PublishedRow("pascal-zs", f"unseen-{num_unseen}", "text", model, source, None, numbers)


def _lavt(benchmark: str, split: str, *values: float) -> PublishedRow:
    numbers = dict(zip(("pr@0.5", "pr@0.7", "pr@0.9", "oiou", "miou"), values, strict=True))
    return PublishedRow(benchmark, split, "text", "LAVT", "yz93/LAVT-RIS README, as in its paper", None, numbers)


def _overall(benchmark: str, split: str, model: str, source: str, oiou: float) -> PublishedRow:
    return PublishedRow(benchmark, split, "text", model, source, None, {"oiou": oiou})


def _rela(backbone: str, ciou: float, giou: float) -> PublishedRow:
    # Its README does not say so, but the last row is the paper's on val. The model says "no target" itself: gated.
    numbers = {"ciou_paper": ciou, "giou_gated": giou}
    return PublishedRow("grefcoco", "val", "text", f"ReLA, {backbone}", "henghuiding/ReLA README", None, numbers)


def _maps(benchmark: str, split: str, model: str, source: str, **values: float) -> PublishedRow:
    return PublishedRow(benchmark, split, "text", model, source, None, values)


PUBLISHED: tuple[PublishedRow, ...] = (
    _maps("coco-panoptic", "val2017", "Uni-OVSeg", UNI_OVSEG, pq=18.0, sq=72.6, rq=24.3, miou=42.7),
    _maps("coco-panoptic", "val2017", "FC-CLIP ConvNeXt-L (trained on COCO)", FC_CLIP, pq=54.4, miou=63.7),
    _maps("ade20k-panoptic", "val", "Uni-OVSeg", UNI_OVSEG, pq=14.1, sq=66.1, rq=19.0),
    _maps("ade20k-panoptic", "val", "FC-CLIP ConvNeXt-L", FC_CLIP, pq=26.8, miou=34.1),
    _maps("cityscapes-panoptic", "val", "Uni-OVSeg", UNI_OVSEG, pq=17.5, sq=65.2, rq=23.5),
    _maps("cityscapes-panoptic", "val", "FC-CLIP ConvNeXt-L", FC_CLIP, pq=44.0, miou=56.2),
    _maps("ade20k-150", "val", "Uni-OVSeg", UNI_OVSEG, miou=32.6),
    _maps("ade20k-150", "val", "FC-CLIP ConvNeXt-L", FC_CLIP, miou=34.1),
    _maps("ade20k-847", "val", "Uni-OVSeg", UNI_OVSEG, miou=13.5),
    _maps("ade20k-847", "val", "FC-CLIP ConvNeXt-L", FC_CLIP, miou=14.8),
    _maps("pascal-context-59", "val", "Uni-OVSeg", UNI_OVSEG, miou=50.9),
    _maps("pascal-context-59", "val", "FC-CLIP ConvNeXt-L", FC_CLIP, miou=58.4),
    _maps("pascal-context-459", "val", "Uni-OVSeg", UNI_OVSEG, miou=18.5),
    _maps("pascal-context-459", "val", "FC-CLIP ConvNeXt-L", FC_CLIP, miou=18.2),
    _maps("voc-21", "val", "Uni-OVSeg", UNI_OVSEG, miou=78.9),
    _maps("voc-21", "val", "FC-CLIP ConvNeXt-L", FC_CLIP, miou=81.8),
    _maps("voc-20", "val", "Uni-OVSeg", UNI_OVSEG, miou=91.9),
    _maps("voc-20", "val", "FC-CLIP ConvNeXt-L", FC_CLIP, miou=95.4),
    _maps("cityscapes", "val", "Uni-OVSeg", UNI_OVSEG, miou=39.7),
    _maps("cityscapes", "val", "FC-CLIP ConvNeXt-L", FC_CLIP, miou=56.2),
    _phrasecut("CLIPSeg (PC+)", 0.3, 43.4, 54.7, 76.7),
    _phrasecut("CLIPSeg (PC, D = 128)", 0.3, 48.2, 56.5, 78.2),
    _phrasecut("CLIPSeg (PC)", 0.3, 46.1, 56.2, 78.2),
    _phrasecut("CLIP-Deconv", 0.3, 37.7, 49.5, 71.2),
    _phrasecut("ViTSeg (PC+)", 0.1, 28.4, 35.4, 58.3),
    _phrasecut("ViTSeg (PC)", 0.3, 38.9, 51.2, 74.4),
    _phrasecut_others("MDETR EB3", "ashkamath/mdetr README", miou=53.7),
    _phrasecut_others("HulaNet", f"cited in {CLIPSEG}, table 3", miou=41.3, ciou=50.8),
    _phrasecut_others("Mask-RCNN top", f"cited in {CLIPSEG}, table 3", miou=39.4, ciou=47.4),
    _phrasecut_others("RMI", f"cited in {CLIPSEG}, table 3", miou=21.1, ciou=42.5),
    PublishedRow(
        "phrasecut", "test", "exemplar", "CLIPSeg (PC+)", f"{CLIPSEG}, table 9, best threshold", None,
        {"miou_paper@best": 25.4, "ap_paper": 55.6},
    ),
    _one_shot("pascal-5i", "exemplar", 5, "CLIPSeg (PC+)", 0.3, 59.5, 75.0, 82.3),
    _one_shot("pascal-5i", "exemplar", 5, "CLIPSeg (PC)", 0.3, 52.3, 69.5, 72.4),
    _one_shot("pascal-5i", "exemplar", 5, "CLIP-Deconv (PC+)", 0.2, 48.0, 65.8, 68.0),
    # The same figures as in table 7: the authors' notebook reads the column of text prompts for both.
    _one_shot("pascal-5i", "exemplar", 5, "ViTSeg (PC+; text)", 0.2, 39.0, 59.0, 62.4),
    _one_shot_others("pascal-5i", "exemplar", 5, "PPNet R50", 52.8, 69.2),
    _one_shot_others("pascal-5i", "exemplar", 5, "RePRI R50", 59.7),
    _one_shot_others("pascal-5i", "exemplar", 5, "PFENet R50", 60.2, 73.3),
    _one_shot_others("pascal-5i", "exemplar", 5, "HSNet R50", 64.0, 76.7),
    _one_shot_others("pascal-5i", "exemplar", 5, "PPNet R101", 55.2, 70.9),
    _one_shot_others("pascal-5i", "exemplar", 5, "RePRI R101", 59.4),
    _one_shot_others("pascal-5i", "exemplar", 5, "PFENet R101", 59.6, 72.9),
    _one_shot_others("pascal-5i", "exemplar", 5, "HSNet R101", 66.2, 77.6),
    _one_shot("pascal-5i", "text", 7, "CLIPSeg (PC+)", 0.3, 72.4, 83.1, 93.5),
    _one_shot("pascal-5i", "text", 7, "CLIPSeg (PC)", 0.3, 70.3, 81.6, 84.8),
    _one_shot("pascal-5i", "text", 7, "CLIP-Deconv (PC+)", 0.3, 63.2, 77.3, 85.3),
    _one_shot("pascal-5i", "text", 7, "ViTSeg (PC+)", 0.2, 39.0, 59.0, 62.4),
    _one_shot_others("pascal-5i", "text", 7, "LSeg", 52.3, 67.0),
    _one_shot_others("pascal-5i", "text", 7, "PFENet VGG16", 54.2),
    _one_shot("coco-20i", "exemplar", 6, "CLIPSeg (COCO)", 0.1, 33.2, 58.4, 40.5),
    _one_shot("coco-20i", "exemplar", 6, "CLIPSeg (COCO+N)", 0.1, 33.3, 59.1, 41.7),
    _one_shot("coco-20i", "exemplar", 6, "CLIP-Deconv (COCO+N)", 0.1, 29.8, 56.8, 40.8),
    _one_shot("coco-20i", "exemplar", 6, "ViTSeg (COCO)", 0.1, 14.4, 46.1, 15.7),
    _one_shot_others("coco-20i", "exemplar", 6, "PPNet R50", 29.0),
    _one_shot_others("coco-20i", "exemplar", 6, "RePRI R50", 34.0),
    _one_shot_others("coco-20i", "exemplar", 6, "PFENet R50", 35.8),
    _one_shot_others("coco-20i", "exemplar", 6, "HSNet R50", 39.2, 68.2),
    _one_shot_others("coco-20i", "exemplar", 6, "HSNet R101", 41.2, 69.1),
    _zero_shot(10, "CLIPSeg (PC+)", 35.7, 43.1, paper=True),
    _zero_shot(10, "CLIP-Deconv", 25.1, 36.7, paper=True),
    _zero_shot(10, "ViTSeg", 4.2, 19.0, paper=True),
    _zero_shot(10, "SPNet", 59.0, 18.1),
    _zero_shot(10, "ZS3Net", 33.9, 18.1),
    _zero_shot(10, "CSRL", 59.2, 21.0),
    _zero_shot(10, "OSR", 72.1, 33.9),
    _zero_shot(10, "JoEm", 63.4, 22.5),
    _zero_shot(4, "CLIPSeg (PC+)", 20.8, 47.3, paper=True),
    _zero_shot(4, "CLIP-Deconv", 25.9, 41.9, paper=True),
    _zero_shot(4, "ViTSeg", 6.0, 24.8, paper=True),
    _zero_shot(4, "SPNet", 67.3, 21.8),
    _zero_shot(4, "ZS3Net", 66.4, 23.2),
    _zero_shot(4, "CSRL", 69.8, 31.7),
    _zero_shot(4, "CaGNet", 69.5, 40.2),
    _zero_shot(4, "OSR", 75.0, 44.1),
    _zero_shot(4, "JoEm", 67.0, 33.4),
    _lavt("refcoco", "unc/val", 84.46, 75.28, 34.30, 72.73, 74.46),
    _lavt("refcoco", "unc/testA", 88.07, 79.90, 35.69, 75.82, 76.89),
    _lavt("refcoco", "unc/testB", 79.12, 69.17, 34.45, 68.79, 70.94),
    _lavt("refcoco+", "unc/val", 74.44, 65.58, 30.23, 62.14, 65.81),
    _lavt("refcoco+", "unc/testA", 80.68, 72.90, 32.36, 68.38, 70.97),
    _lavt("refcoco+", "unc/testB", 65.66, 55.94, 27.24, 55.10, 59.23),
    _lavt("refcocog", "umd/val", 70.81, 58.60, 22.73, 61.24, 63.34),
    _lavt("refcocog", "umd/test", 71.54, 59.00, 23.10, 62.09, 63.62),
    _lavt("refcocog", "google/val", 71.16, 61.76, 27.30, 60.50, 63.66),
    PublishedRow(
        "refcoco", "unc/val", "text", "CLIPSeg-FiLM",
        "its author's article, which defines neither the Dice nor the split further", None, {"dice": 56.56},
    ),
    _overall("refcoco", "unc/val", "EVF-SAM (1.32 B)", "cited in MLCD-Seg's model card", 82.4),
    _overall("refcoco", "unc/testA", "EVF-SAM (1.32 B)", "cited in MLCD-Seg's model card", 84.2),
    _overall("refcoco", "unc/testB", "EVF-SAM (1.32 B)", "cited in MLCD-Seg's model card", 80.2),
    _overall("refcoco+", "unc/val", "EVF-SAM (1.32 B)", "cited in MLCD-Seg's model card", 76.5),
    _overall("refcoco+", "unc/testA", "EVF-SAM (1.32 B)", "cited in MLCD-Seg's model card", 80.0),
    _overall("refcoco+", "unc/testB", "EVF-SAM (1.32 B)", "cited in MLCD-Seg's model card", 71.9),
    _overall("refcocog", "umd/val", "EVF-SAM (1.32 B)", "cited in MLCD-Seg's model card", 78.2),
    _overall("refcocog", "umd/test", "EVF-SAM (1.32 B)", "cited in MLCD-Seg's model card", 78.3),
    _rela("ResNet-50", 39.53, 38.62),
    _rela("Swin-Tiny", 57.73, 56.86),
    _rela("Swin-Base", 62.42, 63.60),
)  # fmt: skip

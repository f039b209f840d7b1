"""A segmenter whose coarse masks a promptable masker sharpens, and whose finds clicks correct."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg import weights
from promptseg.models.interactive.segmenter import ask_for, draw, mean_score, propose, stack_maps
from promptseg.models.promptseg.corrections import correct
from promptseg.models.promptseg.detected_objects import HSV, Meant, Things, find_meant, pack_colors
from promptseg.models.promptseg.instance_separation import MAX_THINGS, find_touching, share_out, split_mask
from promptseg.ops.resize import logit, resize_map
from promptseg.prompts import Query
from promptseg.results import Instance
from promptseg.runtime.graph_runner import GraphRunner
from promptseg.sam.base import OUTSIDE_LOGIT, Masker, MaskerEmbedding
from promptseg.sam.features import PREFIX, pack_masker, unpack_masker
from promptseg.sam.geometric_prompts import POINTING_KINDS, Pointing, read_pointing
from promptseg.sam.load import MaskerName, load_masker
from promptseg.sam.prompt_batching import NO_POINTS, ObjectMasks, ObjectPrompt, mask_objects
from promptseg.sam.refine import CLEARED_LOGIT, RefineSettings, refine
from promptseg.segmenter import Features, Prediction, Segmenter, read_text
from promptseg.weights import ReportProgress

# Who is surely absent is not worth the masker's time; its coarse map tells what was almost said.
LEAST_PRESENCE = 0.1
# Longest side of the image as the masker sees it. Measured on images kept aside from training; docs/experiments.md.
INPUT_SIDE = 640
SETTINGS = RefineSettings(min_agreement=0.4, num_points=1)


def load_refiner(
    name: MaskerName, *, compiled: bool, offline: bool = False, progress: ReportProgress | None = None
) -> Masker:
    """Load the masker that a model's config names.

    Args:
        name: Of the masker.
        compiled: By OpenVINO, in bfloat16 where the CPU has it; else plain PyTorch on the CPU.
        offline: Fetch nothing.
        progress: Told while weights are fetched.

    Raises:
        WeightsError: The weights can't be had.
    """
    weights.resolve(name, offline=offline, progress=progress)
    # as many threads as the network itself takes
    runner = GraphRunner("openvino", precision="bf16", num_threads=torch.get_num_threads()) if compiled else None
    return load_masker(name, input_side=INPUT_SIDE, runner=runner, offline=offline)


@dataclass(frozen=True, eq=False)
class _Draft:
    """One query's answer before the masker draws. Maps are logits of shape `Frame.map_hw`, above 0 where the object is.

    Attributes:
        presence: Probability that the thing is there.
        iou: What the coarse segmenter expects of its map.
        coarse: What the words propose and no click chose, or None.
        is_refined: Whether the masker redraws the objects of `coarse`.
        removed: What clicks took away from it, bool, or None.
        objects: What clicks chose or added, or a referring phrase means.
        touching: Detected things of the words that share a connected part of `coarse`.
        detected: Things that are called what the words say, instead of `coarse`.
        scores: How sure the detector is of each of `detected`.
    """

    presence: float = 1.0
    iou: float = 1.0
    coarse: Tensor | None = None
    is_refined: bool = False
    removed: Tensor | None = None
    objects: tuple[ObjectPrompt, ...] = ()
    touching: tuple[ObjectPrompt, ...] = ()
    detected: tuple[ObjectPrompt, ...] = ()
    scores: tuple[float, ...] = ()


class RefinedSegmenter:
    """Segment coarsely, then let a masker redraw every object that it agrees with.

    The image is encoded by both when it is encoded, so that asking again costs neither. Points, boxes and masks need
    the masker alone; beside words they correct what the words propose, as docs/clicks.md says. Where the segmenter's
    tower detects things of a name, their masks are the name's; those of other names that touch are told apart, and a
    referring phrase gets the one that it means, as docs/objects.md says.

    Args:
        segmenter: Makes the coarse masks.
        masker: Redraws them.
        detected_names: What the `detections` among the segmenter's features are of.
    """

    def __init__(self, segmenter: Segmenter, masker: Masker, detected_names: tuple[str, ...] = ()) -> None:
        self.segmenter = segmenter
        self.masker = masker
        self.detected_names = detected_names
        self.settings = SETTINGS

    @property
    def prompt_kinds(self) -> frozenset[str]:
        """Kinds of prompt that the segmenter takes, and the masker's."""
        return self.segmenter.prompt_kinds | POINTING_KINDS

    @property
    def mask_threshold(self) -> float:
        """A pixel belongs to a mask from this probability on, coarse or refined."""
        return self.segmenter.mask_threshold

    @property
    def presence_threshold(self) -> float:
        """A query counts as found from this presence on."""
        return self.segmenter.presence_threshold

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> Features:
        """Encode an image, uint8, shape (H, W, 3), for both."""
        colors = pack_colors(image_rgb) if self.detected_names else {}
        return {**self.segmenter.encode_image(image_rgb), **pack_masker(self.masker.encode(image_rgb)), **colors}

    @torch.inference_mode()
    def segment(self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int]) -> Prediction:
        """Segment an encoded image of the given original size; N queries give N answers, in order.

        Raises:
            PromptError: A prompt is outside the image, or a query only says where its object is not.
            UnsupportedPromptError: The segmenter does not take what a query has beside points, boxes and masks.
        """
        embedding = unpack_masker(features)
        drafts = self._draft(features, queries, size_hw, embedding)
        asked = [each for draft in drafts for each in (*draft.objects, *draft.touching, *draft.detected)]
        masks = iter(mask_objects(self.masker, embedding, asked))
        found = [
            tuple([next(masks) for _ in prompts] for prompts in (draft.objects, draft.touching, draft.detected))
            for draft in drafts
        ]
        refined = self._refine(drafts, embedding)
        # A masker's logits are 0 at the edge; the threshold is the coarse segmenter's.
        edge = logit(self.mask_threshold)
        maps, ious = [], []
        instances: list[tuple[Instance, ...] | None] = []
        for draft, coarse, (objects, touching, detected) in zip(drafts, refined, found, strict=True):
            maps.append(_join(coarse, [*objects, *detected], embedding.frame.map_hw) + edge)
            ious.append(mean_score(objects or detected) if objects or detected else draft.iou)
            if detected:
                own = [each.mask_logits[0] for each in detected]
                instances.append(share_out(own, draft.scores, size_hw))
            elif touching:
                own = [each.mask_logits[0] for each in touching]
                instances.append(split_mask(maps[-1], own, size_hw, edge=edge, presence=draft.presence))
            else:
                # With objects that nobody chose, connected parts are all that is known.
                instances.append(tuple(draw(each, size_hw) for each in objects) if coarse is None else None)
        return Prediction(
            mask_logits=stack_maps(maps, embedding.frame),
            presence=torch.tensor([draft.presence for draft in drafts]),
            iou=torch.tensor(ious),
            instances=tuple(instances),
        )

    @torch.inference_mode()
    def propose(self, features: Features, query: Query, size_hw: tuple[int, int]) -> Prediction:
        """Give all that points, boxes and masks may mean; see `promptable.PromptableSegmenter.propose`."""
        prediction = propose(self.masker, unpack_masker(features), query, size_hw)
        return replace(prediction, mask_logits=prediction.mask_logits + logit(self.mask_threshold))

    def _draft(
        self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int], embedding: MaskerEmbedding
    ) -> list[_Draft]:
        """Ask the segmenter for the words of all queries at once, and let clicks correct what it proposes."""
        pointings = [read_pointing(query, size_hw) for query in queries]
        words = [_without_pointing(query) for query in queries]
        things = Things.read(features, self.detected_names)
        coarse = {name: value for name, value in features.items() if not name.startswith(PREFIX) and name != HSV}
        said = self.segmenter.segment(coarse, [query for query in words if query is not None], size_hw)
        # the masker does without a GPU, also where the network has one
        maps = [
            torch.from_numpy(resize_map(one, embedding.frame.map_hw) - np.float32(logit(self.mask_threshold)))
            for one in said.mask_logits.float().cpu().numpy()
        ]
        proposed = iter(
            _Draft(presence, iou, one, is_refined=presence >= LEAST_PRESENCE)
            for one, presence, iou in zip(maps, said.presence.tolist(), said.iou.tolist(), strict=True)
        )
        drafts = []
        for query, pointing, asked in zip(queries, pointings, words, strict=True):
            draft = None if asked is None else next(proposed)
            if pointing is not None:
                draft = self._point(draft, query, pointing, embedding)
            assert draft is not None
            if things is not None and pointing is None:
                meant = find_meant(query, things, self.segmenter, coarse, size_hw)
                draft = _draft_things(draft, query, things, size_hw) if meant is None else _draft_one(meant, size_hw)
            drafts.append(draft)
        return drafts

    def _point(self, draft: _Draft | None, query: Query, pointing: Pointing, embedding: MaskerEmbedding) -> _Draft:
        """Apply what a query points with to what its words propose; None: it has no words."""
        # Of what is not there, a map says nothing.
        is_heard = draft is not None and (draft.presence >= self.presence_threshold or not pointing.shows_something)
        if draft is None or draft.coarse is None or not is_heard:
            return _Draft(objects=tuple(ask_for(query, pointing, embedding.frame)))
        left = correct(draft.coarse, pointing, self.masker, embedding)
        is_gone = left.coarse is None and not left.objects
        return _Draft(
            presence=1.0 if pointing.shows_something else 0.0 if is_gone else draft.presence,
            iou=draft.iou,
            coarse=left.coarse,
            is_refined=left.coarse is not None,
            removed=left.removed,
            objects=left.objects,
        )

    def _refine(self, drafts: Sequence[_Draft], embedding: MaskerEmbedding) -> list[Tensor | None]:
        """Let the masker redraw the maps that are worth it, all in one call; what clicks took away stays away."""
        chosen = [draft.coarse for draft in drafts if draft.is_refined and draft.coarse is not None]
        refined = iter(refine(self.masker, embedding, stack_maps(chosen, embedding.frame), self.settings))
        maps = [next(refined) if draft.is_refined else draft.coarse for draft in drafts]
        return [
            one.masked_fill(draft.removed, CLEARED_LOGIT) if one is not None and draft.removed is not None else one
            for draft, one in zip(drafts, maps, strict=True)
        ]


def _draft_one(meant: Meant, size_hw: tuple[int, int]) -> _Draft:
    """Ask for the one thing that a referring phrase means."""
    return _Draft(meant.presence, meant.iou, objects=(_ask_in_box(meant.box_xyxy, size_hw),))


def _draft_things(draft: _Draft, query: Query, things: Things, size_hw: tuple[int, int]) -> _Draft:
    """Ask for the detected things of a phrase: all that are called that, or those that its map shows as one."""
    phrase = read_text(query)
    if phrase is None or draft.coarse is None or not draft.is_refined:
        return draft
    named = things.called(phrase)
    if len(named):
        prompts = tuple(_ask_in_box(box_xyxy, size_hw) for box_xyxy in named.boxes_xyxy[:MAX_THINGS])
        scores = tuple(named.scores[:MAX_THINGS].tolist())
        return replace(draft, coarse=None, is_refined=False, detected=prompts, scores=scores)
    boxes = things.named(phrase)
    chosen = find_touching(draft.coarse, boxes)
    return replace(draft, touching=tuple(_ask_in_box(boxes.boxes_xyxy[index], size_hw) for index in chosen))


def _ask_in_box(box_xyxy: NDArray[np.float64], size_hw: tuple[int, int]) -> ObjectPrompt:
    """Ask for what is in a box, in shares of the image's sides."""
    left, top, right, bottom = (box_xyxy * np.tile(np.array(size_hw[::-1]), 2)).tolist()
    return ObjectPrompt(NO_POINTS, np.zeros(0, dtype=np.bool_), (left, top, right, bottom))


def _without_pointing(query: Query) -> Query | None:
    """What of a query is not points, boxes or masks; None where that is nothing."""
    words = tuple(prompt for prompt in query.prompts if prompt.kind not in POINTING_KINDS)
    return Query(query.label, words) if words else None


def _join(coarse: Tensor | None, objects: Sequence[ObjectMasks], map_hw: tuple[int, int]) -> Tensor:
    maps = [each.mask_logits[0] for each in objects] + ([] if coarse is None else [coarse])
    return torch.stack(maps).amax(0) if maps else torch.full(map_hw, OUTSIDE_LOGIT)

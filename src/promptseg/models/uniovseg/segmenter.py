"""Uni-OVSeg as a segmenter: points, boxes, and names of the regions that a grid of points finds.

Shapes: N queries, R regions, (h, w) the image at stride 4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.encoders.tokenizers import Tokenizer
from promptseg.encoders.tower_facts import image_tower_facts
from promptseg.errors import UnsupportedPromptError
from promptseg.language.class_list import NamedClass
from promptseg.language.phrases import may_name_same
from promptseg.models.uniovseg.config import UniOvSegConfig
from promptseg.models.uniovseg.graphs import UniOvSegGraphs
from promptseg.models.uniovseg.masker import UniOvSegMasker
from promptseg.models.uniovseg.naming import NameEmbedder, class_logits, semantic_scores, softmax
from promptseg.models.uniovseg.regions import Regions, find_regions
from promptseg.ops.deferred import Deferred
from promptseg.ops.resize import resize_map, sigmoid
from promptseg.prompts import Query
from promptseg.results import Instance
from promptseg.results.merging import SegmentCandidate
from promptseg.sam.base import SamEmbedding
from promptseg.sam.query_masks import propose_masks, segment_queries
from promptseg.segmenter import Arrays, Prediction, SegmentProposals, read_text

Floats = NDArray[np.float32]

LEAST_PROBABILITY = 1e-6  # keeps logits finite


@dataclass(frozen=True, eq=False)
class UniOvSegImage:
    """An image, encoded by the network.

    Attributes:
        embedding: The maps.
        regions: The regions of the image; found when a name is first asked for, then kept.
    """

    embedding: SamEmbedding
    regions: Deferred[Regions]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image, pixels."""
        return self.embedding.size_hw

    def to_arrays(self) -> Arrays:
        """Return the maps by name; regions are found again."""
        return self.embedding.to_arrays()


class UniOvSegSegmenter:
    """Segments an image by points, boxes and names. Threads may share it.

    A name that is asked alone must be told from what else an image may show, which the paper does not do. Each region
    compares the name with `RegionSettings.other_names`, except those that mean the same; names of one request do not
    compete, so that the answer to one does not depend on the others. In a panoptic map the classes of the list do.
    `classify` compares a closed list, as published.

    Args:
        config: Architecture and thresholds.
        graphs: Steps of the network.
        tokenizer: Tokenizer of the text tower; None: the model takes points and boxes only.
        cosine_scale: CLIP's factor from cosines to logits; computed when a name is first asked for.

    Attributes:
        prompt_kinds: Kinds of prompt that the model takes.
        sam: The mask side, for clicks and for all masks of an image.
    """

    def __init__(
        self,
        config: UniOvSegConfig,
        graphs: UniOvSegGraphs,
        tokenizer: Tokenizer | None,
        cosine_scale: Deferred[float],
    ) -> None:
        self.prompt_kinds = frozenset({"point", "box"} if tokenizer is None else {"text", "point", "box"})
        self._config = config
        self._graphs = graphs
        self._embedder_or_none = (
            None if tokenizer is None else NameEmbedder(graphs, tokenizer, config.settings.templates)
        )
        self._cosine_scale = cosine_scale
        self.sam = UniOvSegMasker(
            graphs,
            input_side=config.image_size,
            statistics=image_tower_facts(config.image_tower),
            prompts_per_call=config.settings.points_per_call,
        )

    @property
    def mask_threshold(self) -> float:
        """Minimum probability of a mask's pixels."""
        return self._config.mask_threshold

    @property
    def presence_threshold(self) -> float:
        """Minimum presence of a query that counts as found."""
        return self._config.presence_threshold

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> UniOvSegImage:
        """Encode an image, uint8, shape (H, W, 3)."""
        return self._with_regions(self.sam.encode(image_rgb))

    def encode_part(self, image_rgb: NDArray[np.uint8], *, compact: bool) -> UniOvSegImage:
        """Encode a view of a larger image, uint8, shape (H, W, 3); `compact`: as float16."""
        embedding = self.sam.encode(image_rgb)
        return self._with_regions(embedding.in_half_precision() if compact else embedding)

    def restore_image(self, arrays: Mapping[str, NDArray[Any]], image_rgb: NDArray[np.uint8]) -> UniOvSegImage:
        """Rebuild the record from the result of `UniOvSegImage.to_arrays`.

        Raises:
            DataError: An array is missing.
        """
        return self._with_regions(SamEmbedding.from_arrays(arrays))

    def segment(self, image: UniOvSegImage, queries: Sequence[Query]) -> Prediction:
        """Segment an encoded image by N queries; each is one name, or points or boxes.

        Returns:
            Of a name, presence is the highest probability of any region, which is not calibrated; instances are the
            regions with a probability of at least one half; mask quality is that of the best one.

        Raises:
            PromptError: A prompt is outside the image, or nothing of a query lies on an object.
            UnsupportedPromptError: A query holds another kind of prompt, or a name and something else.
        """
        if not queries:
            return Prediction.empty()
        names = [read_text(query) for query in queries]
        if asked := [name for name in names if name is not None]:
            self._embedder.embed([*asked, *self._config.settings.other_names])  # all in few calls; they are kept
        answers: list[Prediction] = []
        for query, name in zip(queries, names, strict=True):
            if name is not None:
                answers.append(self._find_name(image.regions.get(), name))
            else:
                self._check_kinds(query)
                answers.append(segment_queries(self.sam, image.embedding, [query]))
        return Prediction(
            np.concatenate([one.mask_logits for one in answers]),
            np.concatenate([one.presence for one in answers]),
            np.concatenate([one.mask_quality for one in answers]),
            tuple(instances for one in answers for instances in one.instances or (None,)),
        )

    def propose(self, image: UniOvSegImage, query: Query) -> Prediction:
        """Return all candidate masks for the object of a query of points or a box, best first.

        Raises:
            PromptError: As `segment`, or the query has several objects.
            UnsupportedPromptError: As `segment`.
        """
        self._check_kinds(query)
        return propose_masks(self.sam, image.embedding, query)

    def classify(self, image: UniOvSegImage, classes: Sequence[Sequence[str]]) -> Floats:
        """Compare every region of an image with a closed list of classes.

        Args:
            image: Encoded by this model.
            classes: The synonyms of each class, one or more.

        Returns:
            Probabilities, shape (R, C); each row sums to 1.
        """
        vectors = image.regions.get().vectors
        return softmax(class_logits(vectors, self._embedder, classes, scale=self._cosine_scale.get()))

    def semantic_map(self, image: UniOvSegImage, classes: Sequence[Sequence[str]]) -> Floats:
        """Score every class of a closed list at every pixel; the largest is the pixel's class.

        Args:
            image: Encoded by this model.
            classes: As in `classify`.

        Returns:
            Shape (C, h, w), over the image.
        """
        return semantic_scores(self.classify(image, classes), image.regions.get().image_logits)

    def propose_segments(
        self, image: UniOvSegImage, classes: Sequence[NamedClass], *, presence_threshold: float
    ) -> SegmentProposals:
        """Propose each region as a segment of its most probable class.

        Classes compete with each other and with `RegionSettings.other_names`, so that a class may be absent.

        Args:
            image: Encoded by this model.
            classes: C classes.
            presence_threshold: Minimum presence of a class; nothing is proposed for others.
        """
        regions = image.regions.get()
        phrases = [one.phrases for one in classes]
        others = self._other_classes([phrase for synonyms in phrases for phrase in synonyms])
        probabilities = self.classify(image, [*phrases, *others])[:, : len(classes)]
        presence = probabilities.max(axis=0, initial=0.0)
        present = [index for index, one in enumerate(presence.tolist()) if one >= presence_threshold]
        logits = regions.image_logits
        candidates = [
            SegmentCandidate(best, classes[best].is_thing, float(probabilities[index, best]), logits[index])
            for index, best in enumerate(probabilities.argmax(axis=1).tolist())
            if best in present
        ]
        covered = semantic_scores(probabilities, logits).clip(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        return SegmentProposals(
            candidates=tuple(candidates),
            presence=presence,
            present=tuple(present),
            class_logits=np.log(covered / (1 - covered)),
            settings=self._config.settings.merge,
        )

    @property
    def _embedder(self) -> NameEmbedder:
        """What embeds names."""
        if self._embedder_or_none is None:
            raise UnsupportedPromptError(
                "this Uni-OVSeg takes points and boxes, no names: ask the default model for names"
            )
        return self._embedder_or_none

    def _find_name(self, regions: Regions, name: str) -> Prediction:
        probabilities = self._probabilities_of(regions, name)
        logits = regions.image_logits
        covered = np.full(regions.frame.map_hw, LEAST_PROBABILITY, dtype=np.float32)
        for probability, region in zip(probabilities, logits, strict=True):
            np.maximum(covered, probability * sigmoid(region), out=covered)
        covered = covered.clip(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        found = [int(index) for index in np.argsort(-probabilities, kind="stable") if probabilities[index] >= 0.5]
        instances = tuple(
            Instance.from_mask(
                resize_map(logits[index], regions.frame.original_hw) >= 0,
                float(probabilities[index]),
                float(regions.scores[index]),
            )
            for index in found
        )
        best = int(probabilities.argmax()) if len(regions) else None
        return Prediction(
            np.log(covered / (1 - covered))[None],
            np.array([0.0 if best is None else probabilities[best]], dtype=np.float32),
            np.array([0.0 if best is None else regions.scores[best]], dtype=np.float32),
            (instances,),
        )

    def _probabilities_of(self, regions: Regions, name: str) -> Floats:
        """Compute the probability that a region shows the name, and nothing else, shape (R,)."""
        classes = [(name,), *self._other_classes([name])]
        return softmax(class_logits(regions.vectors, self._embedder, classes, scale=self._cosine_scale.get()))[:, 0]

    def _other_classes(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """List what else an image may show besides some names, as classes of one name each."""
        others = self._config.settings.other_names
        return [(other,) for other in others if not any(may_name_same(name, other) for name in names)]

    def _with_regions(self, embedding: SamEmbedding) -> UniOvSegImage:
        settings = self._config.settings
        return UniOvSegImage(embedding, Deferred(lambda: find_regions(self.sam, self._graphs, embedding, settings)))

    def _check_kinds(self, query: Query) -> None:
        kinds = {prompt.kind for prompt in query.prompts}
        if not kinds <= {"point", "box"}:
            raise UnsupportedPromptError(
                f"the model takes one name, or points or boxes, but query {query.label!r} has "
                f"{' + '.join(sorted(kinds))}: split the query"
            )

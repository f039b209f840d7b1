"""The one flow: encode an image once, then segment it by any number of requests. `loading.load` makes a predictor."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from promptseg._value_checks import checked_probability
from promptseg.embedding import Embedding, SavedImage
from promptseg.errors import CheckpointError, PromptError, UnsupportedPromptError
from promptseg.images import DEFAULT_LIMITS, LARGEST_LIMITS, ImageLimits, ImageSource, find_path, read_image
from promptseg.models.registry import LoadedModel
from promptseg.models.table import ModelConfig
from promptseg.ops.deferred import Deferred
from promptseg.ops.windows import Tiles
from promptseg.prompts import Query, QueryLike, TextPrompt
from promptseg.regions import SearchRegion, Within
from promptseg.request_checks import check_kinds, check_queries
from promptseg.results import QueryResult, Segmentation, name_origin
from promptseg.results.background import add_background, find_objects
from promptseg.runtime import Runtime
from promptseg.segmenter import EncodedImage, Prediction, Proposer, Segmenter

if TYPE_CHECKING:
    from promptseg.language.class_list import NamedClass
    from promptseg.results.panoptic import Panoptic, Unlabelled
    from promptseg.sam.automatic import AutomaticSettings, ReportBatches
    from promptseg.sam.base import PromptableSegmenter

GEOMETRIC_KINDS = frozenset({"point", "box", "mask"})


class Loader(Protocol):
    """How a predictor was loaded, and can be again: what a pickle holds of it. `loading` has it."""

    @property
    def model(self) -> str | Path | ModelConfig:
        """The model as the user named it."""
        ...

    def load(self) -> "Predictor":
        """Load it again."""
        ...

    def for_worker(self, num_threads: int) -> "Loader":
        """Describe the same for one process of several: it fetches nothing."""
        ...


@dataclass(frozen=True)
class _Thresholds:
    """The thresholds of a request; fields as in `QueryResult`."""

    presence: float
    mask: float
    unsure: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Predictor:
    """A loaded model; `load` makes it. It never changes, so threads may share it. A pickle loads it again.

    Attributes:
        name: Its name, or that of the directory it is from.
        segmenter: Computes.
        presence_threshold: Presence from which an object counts as present.
        engine: The engine that "auto" came to.
        fingerprint: Identifies this checkpoint: a hash of the config and of everything that was trained.
        device: Where the network runs.
        loaded: The model, with its network where it has one.
        loader: How it was loaded.
        limits: Larger images are refused.
        tiles: How images are cut; None: they are not.
        automatic_sam: Finds every mask of an image; loaded when it is first needed.
        unsure_threshold: Presence from which a less present object is unsure, not absent; None: nothing is unsure.
    """

    name: str
    segmenter: Segmenter[Any]
    presence_threshold: float
    engine: str
    fingerprint: str
    device: str = "cpu"
    loaded: LoadedModel | None = None
    loader: Loader | None = None
    limits: ImageLimits = DEFAULT_LIMITS
    tiles: Tiles | None = None
    automatic_sam: "Deferred[PromptableSegmenter]" = field(default_factory=lambda: Deferred(_load_mobile_sam))
    unsure_threshold: float | None = None

    def __repr__(self) -> str:
        tiles = "" if self.tiles is None else f", tiles of {self.tiles.side} px"
        return f"<Predictor {self.name} {self.fingerprint}, {self.engine}{tiles}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.loader is None:
            raise TypeError("only a predictor that `promptseg.load` made can be pickled")
        return _restore, (self.loader, self.fingerprint, self.limits, self.tiles)

    @property
    def prompt_kinds(self) -> frozenset[str]:
        """Kinds of prompt that the model takes, such as "text"."""
        return self.segmenter.prompt_kinds

    @property
    def config(self) -> ModelConfig:
        """Architecture and thresholds of the model.

        Raises:
            CheckpointError: The predictor was not loaded, but made of a segmenter.
        """
        if self.loaded is None:
            raise CheckpointError(f"{self.name} was made of a segmenter: it has no config")
        return self.loaded.config

    @property
    def origin(self) -> str:
        """Name the checkpoint and its threshold, for a data set that is to hold the answers of one."""
        return name_origin(self.name, self.fingerprint, self.presence_threshold)

    def tiled(
        self, side: int = 1024, *, overlap: int | None = None, limits: ImageLimits = LARGEST_LIMITS
    ) -> "Predictor":
        """Give a predictor for large images that shares this one's network.

        It segments the whole image and overlapping tiles, see `TiledSegmenter`; so it finds what is too small in the
        whole, in the time that so many images take. What fits in one tile gets the same answer as without.

        Args:
            side: Of a tile, pixels, at least 64.
            overlap: Pixels that neighbors share at least; None: a quarter of the side.
            limits: Larger images are refused.

        Raises:
            PromptError: A number is out of its range, or this predictor has tiles already.
        """
        # here and not above: few images are large
        from promptseg.models.tiled import TiledSegmenter

        if self.tiles is not None:
            raise PromptError(f"{self.name} has tiles already: use it as it is")
        tiles = Tiles(side, side // 4 if overlap is None else overlap)
        # another embedding, which only the same tiles can read
        fingerprint = hashlib.sha256(f"{self.fingerprint} {tiles!r}".encode()).hexdigest()[:16]
        segmenter = TiledSegmenter(self.segmenter, tiles)
        return replace(self, segmenter=segmenter, fingerprint=fingerprint, limits=limits, tiles=tiles)

    def with_limits(self, limits: ImageLimits) -> "Predictor":
        """Give the same predictor with other limits for images."""
        return replace(self, limits=limits)

    def segment_everything(
        self,
        image: ImageSource,
        names: Iterable[str] = (),
        *,
        sam: "PromptableSegmenter | None" = None,
        settings: "AutomaticSettings | None" = None,
        tiles: Tiles | None = None,
        report: "ReportBatches | None" = None,
        within: Within | None = None,
    ) -> Segmentation:
        """Find every mask of an image, without a prompt, and name those that one of the names fits.

        Args:
            image: An image of any kind that `encode` takes.
            names: Phrases, or one; none: no mask is named.
            sam: Finds the masks; None: MobileSAM at 1024 pixels on this predictor's engine, or this predictor's own
                SAM where it is one, such as "sam2-hiera-tiny".
            settings: How masks are searched and which are kept; None: those of docs/everything.md.
            tiles: For a large image: search tiles too.
            report: Called with (batches of points done, batches in all) after each batch, or None.
            within: Look only here, as `segment`; masks that reach out of a region are cut off at its edge.

        Returns:
            One result for each name, and a last one, "unnamed", for all other masks; see
            `everything.segment_everything`.

        Raises:
            ImageError: The image can't be read, or is too large.
            OutsideImageError: `within` lies outside the image.
            PromptError: A name is malformed.
            UnsupportedPromptError: There are names, and the model takes no phrases.
            WeightsError: MobileSAM's weights can't be fetched.
        """
        # here and not above: the automatic search is needed here only
        from promptseg.everything import SETTINGS, segment_everything

        names = (names,) if isinstance(names, str) else tuple(names)
        if names:
            self.check_queries(names)
        return segment_everything(
            sam or self.automatic_sam.get(),
            image,
            names=names,
            predictor=self if names else None,
            settings=settings or SETTINGS,
            tiles=tiles,
            limits=self.limits if tiles is None else LARGEST_LIMITS,
            report=report,
            within=within,
        )

    def encode(self, image: ImageSource) -> Embedding:
        """Encode an image, once for all requests.

        Args:
            image: A file's path, its bytes, a Pillow image, or a uint8 RGB array of shape (H, W, 3).

        Raises:
            ImageError: The image can't be read; the message names it.
        """
        return self._encode(*self._read_pixels(image))

    def segment(
        self,
        image: Embedding | ImageSource,
        queries: QueryLike | Iterable[QueryLike],
        *,
        threshold: float | None = None,
        mask_threshold: float | None = None,
        within: Within | None = None,
    ) -> Segmentation:
        """Segment an image.

        Args:
            image: What `encode` returned, or an image of any kind that it takes.
            queries: Phrases, prompts and queries, 1 to 1,000. "background", "everything else" and the like mean all
                pixels that no object of the other queries has.
            threshold: Presence below which an object counts as absent, in [0, 1]; nothing is unsure then. None: the
                predictor's own thresholds.
            mask_threshold: A pixel belongs to a mask from this probability on; None: the model's own. Instances that
                the model separates keep the masks that it gave them.
            within: Look only here: a box (left, top, right, bottom), pixels, or a mask, bool, shape (H, W). The tight
                box is cut out and segmented as an image of its own, at the full resolution of the network, also where
                `image` is an embedding of the whole. Presence, places ("the left one") and the background are those of
                the region. All coordinates, those of prompts and of results, stay in pixels of the whole image; pixels
                outside a mask are in no result. None: look everywhere.

        Returns:
            One result for each query, in order, whatever is found.

        Raises:
            ImageError: The image can't be read.
            OutsideImageError: A prompt or `within` lies outside the image, or a prompt outside `within`.
            PromptError: The request is malformed or of the background alone, or a threshold is no probability.
            UnsupportedPromptError: The model does not take this kind of prompt.
            CheckpointError: The embedding is of another model, or the model's numbers are not finite.
        """
        requested = self.check_queries(queries)
        thresholds = self._choose_thresholds(threshold, mask_threshold)
        view = self._look(image, within)
        results = self._answer(view.embedding, view.move(requested), thresholds)
        return Segmentation(
            image_rgb=view.image_rgb,
            results=view.place(results),
            model=self.name,
            presence_threshold=thresholds.presence,
            mask_threshold=thresholds.mask,
            fingerprint=self.fingerprint,
            source=view.source,
            unsure_threshold=thresholds.unsure,
        )

    def panoptic(
        self,
        image: Embedding | ImageSource,
        names: "Iterable[str | NamedClass] | None" = None,
        *,
        stuff: Iterable[str] = (),
        unlabelled: "Unlabelled" = "keep",
        min_score: float | None = None,
        min_area: int | None = None,
        within: Within | None = None,
    ) -> "Panoptic":
        """Give every pixel of an image a class of a list, or none; things are counted one by one.

        A class that is not there is never painted. Asking again with other names costs no encoding on an embedding.

        Args:
            image: What `encode` returned, or an image of any kind that it takes.
            names: The classes, 1 to 1,000, such as "cat", "couch, sofa" (synonyms) or "wall [stuff]", or classes that
                `language.class_list.read_class_list` read; None: a list of everyday names. "background" takes what the
                others leave.
            stuff: Names of classes that are stuff. What neither this nor a mark says is told by tables and WordNet.
            unlabelled: "keep": pixels of which no class is sure get no segment. "fill": every pixel gets the best class
                that is present, as benchmarks want it.
            min_score: Segments of a lower score are left out, in [0, 1]; None: the model's own minimum.
            min_area: Smaller segments are left out, pixels; None: the model's own minimum.
            within: Look only here, as `segment`; pixels outside get no segment, and are not filled.

        Raises:
            ImageError: The image can't be read.
            OutsideImageError: `within` lies outside the image.
            PromptError: A name is malformed or comes twice, there are too many, or a number is out of its range.
            UnsupportedPromptError: The model takes no phrases.
            CheckpointError: The embedding is of another model.
        """
        # here and not above: maps are needed here only
        from promptseg.panoptic_map import PanopticOptions, describe_pixels, read_classes, segment_pixels

        classes = read_classes(names, stuff=stuff)
        options = PanopticOptions(unlabelled, min_score, min_area)
        asked = Query(classes[0].label, (TextPrompt(classes[0].label),))
        check_kinds(asked, model=self.name, prompt_kinds=self.prompt_kinds)
        view = self._look(image, within)
        pixels = segment_pixels(
            self.segmenter, self._open(view.embedding), classes, options, presence_threshold=self.presence_threshold
        )
        return describe_pixels(
            pixels,
            classes,
            view.image_rgb,
            options=options,
            model=self.name,
            fingerprint=self.fingerprint,
            source=view.source,
            region=view.region,
        )

    def check_queries(self, queries: QueryLike | Iterable[QueryLike]) -> tuple[Query, ...]:
        """Check what can be checked of a request without an image: before a long run, say.

        Phrases in a script that is not Latin, negations and "everything" cause a `LanguageWarning`: the models find
        what is named, in English.

        Args:
            queries: As `segment` takes them.

        Returns:
            The queries, in order.

        Raises:
            PromptError: The request is malformed or of the background alone.
            UnsupportedPromptError: The model does not take a kind of prompt.
        """
        return check_queries(queries, model=self.name, prompt_kinds=self.prompt_kinds)

    def propose(
        self, image: Embedding | ImageSource, query: QueryLike, *, within: Within | None = None
    ) -> tuple[QueryResult, ...]:
        """Give all that points, a box or a mask may mean, for a person to choose from.

        Args:
            image: What `encode` returned, or an image of any kind that it takes.
            query: Points, a box and masks of one object; `QueryResult.as_prompt` gives the one that was chosen back.
            within: Look only here, as `segment`.

        Returns:
            Three candidates, such as a part, the whole and a group, best first; `instances[0].mask_quality` is the
            model's estimate of each.

        Raises:
            ImageError: The image can't be read.
            OutsideImageError: `within` lies outside the image, or a prompt outside `within`.
            PromptError: The query points at several objects or at none, or outside the image.
            UnsupportedPromptError: The model has no candidates, or does not take this kind of prompt.
            CheckpointError: The embedding is of another model, or the model's numbers are not finite.
        """
        (asked,) = self.check_queries([query])
        kinds = {prompt.kind for prompt in asked.prompts}
        if not (kinds <= GEOMETRIC_KINDS and isinstance(self.segmenter, Proposer)):
            raise UnsupportedPromptError(
                f"{self.name} has no candidates for {' and '.join(sorted(kinds))} (query {asked.label!r}): "
                "they are for points, boxes and masks alone, of a model that takes these"
            )
        view = self._look(image, within)
        prediction = self.segmenter.propose(self._open(view.embedding), *view.move((asked,)))
        labels = [asked.label] * len(prediction.presence)
        return view.place(self._to_results(prediction, labels, view.embedding, self._choose_thresholds(None, None)))

    def save_pretrained(self, directory: str | Path) -> None:
        """Write config.json and model.safetensors, which `load(directory)` reads.

        The checkpoint holds what was trained, and names the towers it needs without their bytes.

        Raises:
            CheckpointError: Nothing of the model was trained.
            OutputError: The directory can't be written.
        """
        if self.loaded is None or self.loaded.source is None:
            raise CheckpointError(f"{self.name} has nothing of its own to save: others have published its parts")
        # here and not above: only who saves needs torch
        from promptseg.models.checkpoint import save_pretrained

        save_pretrained(self.loaded.source.network.get(), Path(directory))

    def _look(self, image: Embedding | ImageSource, within: Within | None) -> "_View":
        """Encode an image, unless it is, or a region of it."""
        if within is None:
            whole = image if isinstance(image, Embedding) else self.encode(image)
            return _View(whole.image_rgb, whole.source, whole)
        image_rgb, source = self._read_pixels(image)
        region = SearchRegion.read(within, image_rgb.shape[:2])
        return _View(image_rgb, source, self._encode(region.cut(image_rgb), None), region)

    def _encode(self, image_rgb: NDArray[np.uint8], source: str | None) -> Embedding:
        return Embedding(self.name, self.fingerprint, image_rgb, self.segmenter.encode_image(image_rgb), source=source)

    def _read_pixels(self, image: Embedding | ImageSource) -> tuple[NDArray[np.uint8], str | None]:
        """Give the pixels of an image, shape (H, W, 3), and its path."""
        if isinstance(image, Embedding):
            image.check_made_by(self.name, self.fingerprint)
            return image.image_rgb, image.source
        return read_image(image, limits=self.limits), find_path(image)

    def _answer(
        self, embedding: Embedding, queries: Sequence[Query], thresholds: _Thresholds
    ) -> tuple[QueryResult, ...]:
        """Segment what an embedding shows; one result for each query, in order."""
        objects = find_objects(queries)
        prediction = self.segmenter.segment(self._open(embedding), objects)
        labels = [query.label for query in objects]
        results = self._to_results(prediction, labels, embedding, thresholds)
        return add_background(queries, results, presence_threshold=thresholds.presence, mask_threshold=thresholds.mask)

    def _open(self, embedding: Embedding) -> EncodedImage:
        """Give the model's own record of an embedding."""
        embedding.check_made_by(self.name, self.fingerprint)
        if isinstance(embedding.encoded, SavedImage):
            restored: EncodedImage = self.segmenter.restore_image(embedding.encoded.arrays, embedding.image_rgb)
            return restored
        return embedding.encoded

    def _to_results(
        self,
        prediction: Prediction,
        labels: Sequence[str],
        embedding: Embedding,
        thresholds: _Thresholds,
    ) -> tuple[QueryResult, ...]:
        if not (np.isfinite(prediction.mask_logits).all() and np.isfinite(prediction.presence).all()):
            raise CheckpointError(f"{self.name} computed numbers that are not finite: its weights are damaged")
        return tuple(
            QueryResult(
                label,
                presence,
                np.asarray(mask_logits, dtype=np.float32),
                embedding.size_hw,
                thresholds.presence,
                thresholds.mask,
                instances,
                unsure_threshold=thresholds.unsure,
                read_as=read_as,
            )
            for label, presence, mask_logits, instances, read_as in zip(
                labels,
                prediction.presence.tolist(),
                prediction.mask_logits,
                prediction.instances or (None,) * len(labels),
                prediction.read_as or (None,) * len(labels),
                strict=True,
            )
        )

    def _choose_thresholds(self, threshold: float | None, mask_threshold: float | None) -> _Thresholds:
        """Check the thresholds of a request; None: those of the predictor and of the model."""
        mask = (
            self.segmenter.mask_threshold
            if mask_threshold is None
            else checked_probability(mask_threshold, what="mask_threshold")
        )
        if threshold is None:
            return _Thresholds(self.presence_threshold, mask, self.unsure_threshold)
        return _Thresholds(checked_probability(threshold, what="threshold"), mask)


@dataclass(frozen=True, eq=False)
class _View:
    """What of an image is looked at.

    Attributes:
        image_rgb: The whole image, uint8, shape (H, W, 3).
        source: Its path.
        embedding: Of what is looked at.
        region: The region that is looked at; None: the whole image.
    """

    image_rgb: NDArray[np.uint8]
    source: str | None
    embedding: Embedding
    region: SearchRegion | None = None

    def move(self, queries: tuple[Query, ...]) -> tuple[Query, ...]:
        return queries if self.region is None else tuple(map(self.region.move_query, queries))

    def place(self, results: tuple[QueryResult, ...]) -> tuple[QueryResult, ...]:
        return results if self.region is None else tuple(map(self.region.place, results))


def _load_mobile_sam() -> "PromptableSegmenter":
    from promptseg.sam.load import load_sam

    return load_sam("mobile-sam", runtime=Runtime.choose())


def _restore(loader: Loader, fingerprint: str, limits: ImageLimits, tiles: Tiles | None) -> Predictor:
    """Load a pickled predictor again.

    Raises:
        CheckpointError: The checkpoint is another one now.
    """
    predictor = replace(loader.load(), limits=limits)
    if tiles is not None:
        predictor = predictor.tiled(tiles.side, overlap=tiles.overlap, limits=limits)
    if predictor.fingerprint != fingerprint:
        raise CheckpointError(f"{loader.model} is not the checkpoint that was pickled: load it again")
    return predictor

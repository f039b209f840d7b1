"""The one flow: encode an image once, then segment it by any number of requests."""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promptseg._value_checks import checked_probability
from promptseg.embedding import Embedding, SavedImage
from promptseg.errors import CheckpointError, LanguageWarning, PromptError, UnknownModelError, UnsupportedPromptError
from promptseg.images import DEFAULT_LIMITS, LARGEST_LIMITS, ImageLimits, ImageSource, find_path, read_image
from promptseg.language.foreign import find_foreign_script
from promptseg.models.registry import DEFAULT_MODEL, LoadedModel, LoadOptions, list_models, load_model
from promptseg.models.table import MODELS, ModelConfig
from promptseg.ops.deferred import Deferred
from promptseg.ops.windows import Tiles
from promptseg.prompts import Query, QueryLike, TextPrompt, to_queries
from promptseg.regions import SearchRegion, Within
from promptseg.results import QueryResult, Segmentation, name_origin
from promptseg.results.background import add_background, find_objects
from promptseg.runtime import Runtime
from promptseg.segmenter import EncodedImage, Prediction, Proposer, Segmenter, ThreeWaySegmenter
from promptseg.weights import ReportProgress

if TYPE_CHECKING:
    from promptseg.language.class_list import NamedClass
    from promptseg.results.panoptic import Panoptic, Unlabelled
    from promptseg.sam.automatic import AutomaticSettings, ReportBatches
    from promptseg.sam.base import PromptableSegmenter

__all__ = ["Predictor", "list_models", "load", "segment"]

GEOMETRIC_KINDS = frozenset({"point", "box", "mask"})


def load(
    model: str | Path | ModelConfig | None = None,
    *,
    device: str = "auto",
    engine: str = "auto",
    offline: bool = False,
    threshold: float | None = None,
    num_threads: int | None = None,
    progress: ReportProgress | None = None,
    report_compile: Callable[[str], None] | None = None,
    **options: Any,
) -> "Predictor":
    """Load a model that is ready to segment; what it needs is fetched the first time.

    Args:
        model: A name that `list_models` gives; a directory that `save_pretrained` wrote, or transformers from a
            CLIPSeg; a file of the original CLIPSeg's decoder, or of Uni-OVSeg's first stage; None: the default.
        device: "cpu", "cuda", "cuda:1", "mps"; "auto" takes a GPU where there is one.
        engine: "torch", "openvino" or "openvino-bf16"; "auto" takes OpenVINO on a CPU, in bfloat16 where the CPU has
            it, else PyTorch. All parts of a model compute in the same precision. OpenVINO compiles a model at its
            first use on a machine, for about a minute, and keeps it in the cache.
        offline: Fetch nothing.
        threshold: Presence below which an object counts as absent, in [0, 1]; nothing is unsure then. None: the
            model's own thresholds.
        num_threads: Threads of a compiled model, from 1 on; None: OMP_NUM_THREADS, or all cores. PyTorch's are set by
            `torch.set_num_threads`, for the whole process.
        progress: Told (name, bytes here, bytes in all) while weights are fetched; `weights.progress_bar` shows it.
        report_compile: Told the name of each graph before it is compiled.
        options: Of the model, such as detector="owlv2-base" and box_threshold=0.2 of "langsam".

    Raises:
        UnknownModelError: There is neither a model nor a checkpoint of that name.
        CheckpointError: The directory holds no checkpoint, or one that does not fit.
        WeightsError: Pretrained weights can't be fetched, or `offline` forbids it.
        EngineError: The device or the engine is not available here.
        PromptError: The threshold is no probability, the number of threads is not from 1 on, or the model has no such
            option.
    """
    if threshold is not None:
        threshold = checked_probability(threshold, what="threshold")
    if num_threads is not None and not (isinstance(num_threads, int) and num_threads >= 1):
        raise PromptError(f"num_threads is a whole number from 1 on, not {num_threads!r}")
    if model is None:
        model = DEFAULT_MODEL
    elif not (isinstance(model, str | Path) and str(model)) and not hasattr(model, "architecture"):
        raise UnknownModelError(f"a model is a name, the path of a checkpoint or a config, not {model!r}")
    runtime = Runtime.choose(engine, device, report_compile, max_threads=num_threads)
    loaded = load_model(model, LoadOptions(runtime, offline, progress), options)
    presence_threshold = loaded.segmenter.presence_threshold if threshold is None else threshold
    return Predictor(
        name=loaded.name,
        segmenter=loaded.segmenter,
        presence_threshold=presence_threshold,
        unsure_threshold=_find_unsure_threshold(loaded.segmenter) if threshold is None else None,
        engine=runtime.engine,
        device=runtime.device,
        fingerprint=loaded.identity,
        loaded=loaded,
        recipe=Recipe(model, device, engine, offline, threshold, num_threads, options),
        automatic_sam=Deferred(lambda: _automatic_sam(loaded.segmenter, runtime, offline, progress)),
    )


def segment(
    image: ImageSource,
    queries: QueryLike | Iterable[QueryLike],
    *,
    model: str | Path | None = None,
    threshold: float | None = None,
    mask_threshold: float | None = None,
    within: Within | None = None,
    **load_options: Any,
) -> Segmentation:
    """Segment one image by one request, in one line. For more than one image, `load` once: loading takes most time.

    Args:
        image: A file's path, its bytes, a Pillow image, or a uint8 RGB array of shape (H, W, 3).
        queries: Phrases, prompts and queries.
        model: As `load`.
        threshold: Presence below which an object counts as absent, in [0, 1]; None: the model's own.
        mask_threshold: As `Predictor.segment`.
        within: As `Predictor.segment`.
        load_options: Further arguments of `load`.

    Raises:
        PromptsegError: As `load` and `Predictor.segment`.
    """
    find_objects(to_queries(queries))
    if mask_threshold is not None:
        checked_probability(mask_threshold, what="mask_threshold")
    image_rgb = read_image(image)
    if within is not None:
        SearchRegion.read(within, image_rgb.shape[:2])
    # so far, what is wrong with the request is said before anything is loaded
    predictor = load(model, threshold=threshold, **load_options)
    # the pixels and not the image again: an open file can be read once only
    found = predictor.segment(image_rgb, queries, mask_threshold=mask_threshold, within=within)
    return replace(found, source=find_path(image))


@dataclass(frozen=True)
class Recipe:
    """How a predictor was loaded: what a pickle holds of it. Fields are the arguments of `load`."""

    model: str | Path | ModelConfig
    device: str
    engine: str
    offline: bool
    threshold: float | None
    num_threads: int | None
    options: dict[str, Any]


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
        recipe: How it was loaded.
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
    recipe: Recipe | None = None
    limits: ImageLimits = DEFAULT_LIMITS
    tiles: Tiles | None = None
    automatic_sam: "Deferred[PromptableSegmenter]" = field(default_factory=lambda: Deferred(_load_mobile_sam))
    unsure_threshold: float | None = None

    def __repr__(self) -> str:
        tiles = "" if self.tiles is None else f", tiles of {self.tiles.side} px"
        return f"<Predictor {self.name} {self.fingerprint}, {self.engine}{tiles}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.recipe is None:
            raise TypeError("only a predictor that `promptseg.load` made can be pickled")
        return _reload, (self.recipe, self.fingerprint, self.limits, self.tiles)

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

        Returns:
            One result for each name, and a last one, "unnamed", for all other masks; see
            `everything.segment_everything`.

        Raises:
            ImageError: The image can't be read, or is too large.
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
        if within is None:
            embedding = image if isinstance(image, Embedding) else self.encode(image)
            image_rgb, source = embedding.image_rgb, embedding.source
            results = self._answer(embedding, requested, thresholds)
        else:
            image_rgb, source = self._read_pixels(image)
            region = SearchRegion.read(within, image_rgb.shape[:2])
            moved = tuple(map(region.move_query, requested))
            part = self._encode(region.cut(image_rgb), None)
            results = tuple(map(region.place, self._answer(part, moved, thresholds)))
        return Segmentation(
            image_rgb=image_rgb,
            results=results,
            model=self.name,
            presence_threshold=thresholds.presence,
            mask_threshold=thresholds.mask,
            fingerprint=self.fingerprint,
            source=source,
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

        Raises:
            ImageError: The image can't be read.
            PromptError: A name is malformed or comes twice, there are too many, or a number is out of its range.
            UnsupportedPromptError: The model takes no phrases.
            CheckpointError: The embedding is of another model.
        """
        # here and not above: maps are needed here only
        from promptseg.panoptic_map import PanopticOptions, describe_pixels, read_classes, segment_pixels

        classes = read_classes(names, stuff=stuff)
        options = PanopticOptions(unlabelled, min_score, min_area)
        self._check_kinds(Query(classes[0].label, (TextPrompt(classes[0].label),)))
        embedding = image if isinstance(image, Embedding) else self.encode(image)
        pixels = segment_pixels(
            self.segmenter, self._open(embedding), classes, options, presence_threshold=self.presence_threshold
        )
        return describe_pixels(
            pixels,
            classes,
            embedding.image_rgb,
            options=options,
            model=self.name,
            fingerprint=self.fingerprint,
            source=embedding.source,
        )

    def check_queries(self, queries: QueryLike | Iterable[QueryLike]) -> tuple[Query, ...]:
        """Check what can be checked of a request without an image: before a long run, say.

        Phrases in a script that is not Latin cause a `LanguageWarning`: all models were trained on English.

        Args:
            queries: As `segment` takes them.

        Returns:
            The queries, in order.

        Raises:
            PromptError: The request is malformed or of the background alone.
            UnsupportedPromptError: The model does not take a kind of prompt.
        """
        requested = to_queries(queries)
        for query in find_objects(requested):
            self._check_kinds(query)
        _warn_of_scripts(requested)
        return requested

    def propose(self, image: Embedding | ImageSource, query: QueryLike) -> tuple[QueryResult, ...]:
        """Give all that points, a box or a mask may mean, for a person to choose from.

        Args:
            image: What `encode` returned, or an image of any kind that it takes.
            query: Points, a box and masks of one object; `QueryResult.as_prompt` gives the one that was chosen back.

        Returns:
            Three candidates, such as a part, the whole and a group, best first; `instances[0].mask_quality` is the
            model's estimate of each.

        Raises:
            ImageError: The image can't be read.
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
        embedding = image if isinstance(image, Embedding) else self.encode(image)
        prediction = self.segmenter.propose(self._open(embedding), asked)
        labels = [asked.label] * len(prediction.presence)
        return self._to_results(prediction, labels, embedding, self._choose_thresholds(None, None))

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

    def _check_kinds(self, query: Query) -> None:
        for prompt in query.prompts:
            if prompt.kind not in self.prompt_kinds:
                takers = [
                    row.name
                    for row in MODELS.values()
                    if prompt.kind in row.prompt_kinds and row.status in ("shipped", "published")
                ]
                raise UnsupportedPromptError(
                    f"{self.name} takes {' and '.join(sorted(self.prompt_kinds))} prompts, no {prompt.kind} prompts "
                    f"(query {query.label!r}); models that do: {', '.join(takers) or 'none yet'}"
                )


def _warn_of_scripts(queries: Iterable[Query]) -> None:
    """Warn of phrases that are not in English, as far as their letters tell."""
    texts = (prompt.text for query in queries for prompt in query.prompts if isinstance(prompt, TextPrompt))
    if foreign := {text: script for text in texts if not text.isascii() and (script := find_foreign_script(text))}:
        text, script = next(iter(foreign.items()))
        more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
        warnings.warn(
            f"the phrase {text!r}{more} is in {script} letters, and the model was trained on English: its answer says "
            f"little; ask in English, and keep your own label with Query({text!r}, TextPrompt('...'))",
            LanguageWarning,
            stacklevel=4,
        )


def _find_unsure_threshold(segmenter: Segmenter[Any]) -> float | None:
    return segmenter.unsure_threshold if isinstance(segmenter, ThreeWaySegmenter) else None


def _automatic_sam(
    segmenter: Segmenter[Any], runtime: Runtime, offline: bool, progress: ReportProgress | None
) -> "PromptableSegmenter":
    """Give a model's own SAM where it is one, else MobileSAM at its full size."""
    from promptseg.models.interactive.segmenter import InteractiveSegmenter
    from promptseg.models.uniovseg.segmenter import UniOvSegSegmenter

    if isinstance(segmenter, InteractiveSegmenter | UniOvSegSegmenter):
        return segmenter.sam
    from promptseg.sam.load import load_sam

    return load_sam("mobile-sam", runtime=runtime, offline=offline, progress=progress)


def _load_mobile_sam() -> "PromptableSegmenter":
    from promptseg.sam.load import load_sam

    return load_sam("mobile-sam", runtime=Runtime.choose())


def _reload(recipe: Recipe, fingerprint: str, limits: ImageLimits, tiles: Tiles | None) -> Predictor:
    """Load a pickled predictor again.

    Raises:
        CheckpointError: The checkpoint is another one now.
    """
    predictor = load(
        recipe.model,
        device=recipe.device,
        engine=recipe.engine,
        offline=recipe.offline,
        threshold=recipe.threshold,
        num_threads=recipe.num_threads,
        **recipe.options,
    )
    predictor = replace(predictor, limits=limits)
    if tiles is not None:
        predictor = predictor.tiled(tiles.side, overlap=tiles.overlap, limits=limits)
    if predictor.fingerprint != fingerprint:
        raise CheckpointError(f"{recipe.model} is not the checkpoint that was pickled: load it again")
    return predictor

"""All thresholds of the default model's inference, in one record that config.json of a checkpoint stores."""

from dataclasses import dataclass, field

from promptseg.encoders.classifier import ClassifierName
from promptseg.models.segment_proposals import ProposalSettings
from promptseg.results.merging import MergeSettings
from promptseg.sam.refine_settings import RefineSettings

# Chosen on pictures of coco_train and camvid_train (lab/experiments.md). A checkpoint's config.json holds them too, and
# the weights that lab/fit_panoptic.py fits for it.
PANOPTIC_MERGE = MergeSettings(
    mask_threshold=0.31,
    min_score=0.2,
    min_visible_share=0.5,
    min_stuff_share=0.005,
    max_inset_share=0.3,
    min_island_share=0.0005,
    max_gap_share=0.02,
    presence_weight=0.5,
    min_fill_score=0.04,
)


@dataclass(frozen=True)
class DetectionSettings:
    """Minimum scores of detections for each use. Scores are those of the detectors together, in [0, 1].

    Attributes:
        min_exact_score: For detections of the phrase's class to be its mask and its instances.
            Chosen on held-out training images (lab/experiments.md).
        sure_score: Such detections with a lower score count only where the phrase's map agrees.
        min_filled: That is, where it fills at least this share of the box. Both chosen on training images.
        min_score: For detections to separate touching instances of a mask.
        min_doubtful_score: For detections to be candidates of a referring expression; low, because the score is a cue.
        min_hint_score: For the same, if there are no such candidates.
        least_evidence_score: Lower scores count as this score, which limits the evidence against presence.
        max_instances: Maximum number of detections to segment for one phrase, best first.
        min_region_share: Without detections, the connected regions of a phrase's mask are the candidates of a referring
            expression, if they have at least this share of the largest region's area.
    """

    min_exact_score: float = 0.15
    sure_score: float = 0.3
    min_filled: float = 0.25
    min_score: float = 0.25
    min_doubtful_score: float = 0.1
    min_hint_score: float = 0.01
    least_evidence_score: float = 0.01
    max_instances: int = 24
    min_region_share: float = 0.05


@dataclass(frozen=True)
class SeparationSettings:
    """Settings for the separation of touching instances of one mask.

    Attributes:
        min_filled: A box belongs to a mask if the mask fills at least this share of the box.
        min_within: Minimum share of an instance's separate mask that lies in the region to divide.
        max_mask_iou: Of two instances whose masks have a larger IoU, only the better one remains.
        min_rest_share: A part that no instance covers becomes an instance if it has at least this share of the mean
            area of the instances.
    """

    min_filled: float = 0.25
    min_within: float = 0.5
    max_mask_iou: float = 0.6
    min_rest_share: float = 0.5


@dataclass(frozen=True)
class CorrectionSettings:
    """Settings for the correction of a phrase's mask by clicks.

    Attributes:
        min_filled_share: A box chooses an object of the mask if the mask fills at least this share of the box;
            otherwise the box adds an object.
        near_cells: Maximum distance, in cells, of a point from an object of the coarse mask that it belongs to; not 0,
            because the coarse mask has rough edges.
        whole_share: A negative point removes the whole object if SAM's mask under the point covers at least this share
            of the object.
    """

    min_filled_share: float = 0.1
    near_cells: float = 3.0
    whole_share: float = 0.5


@dataclass(frozen=True)
class CleaningSettings:
    """Which small islands are removed from masks, and which small holes are filled; see `cleaning`.

    Chosen on people's masks of kept-aside training images (lab/experiments.md).

    Attributes:
        min_part_share: Minimum area of a part of one object, as a share of its largest part.
        min_object_share: Minimum area of an object among others of a phrase, as a share of the largest.
        min_hole_share: Minimum area of a hole, as a share of the largest part or object.
    """

    min_part_share: float = 0.1
    min_object_share: float = 0.02
    min_hole_share: float = 0.002


@dataclass(frozen=True)
class RankingSettings:
    """Weights and thresholds of the ranking; lab/fit_references.py fits the weights, see docs/objects.md.

    Attributes:
        score_weight: Weight of the detection score, in log odds.
        color_weight: Weight of the shares of the colors in the name and the attributes.
        relation_weight: Weight of the relations to other objects.
        spatial_weight: Weight of the spatial constraints.
        min_color_share: A rank ("the second red suitcase") counts only candidates with at least this fraction of the
            largest share of the name's color.
        color_floor: Color shares far below this count as zero.
        same_box_iou: Boxes with a larger IoU are one object, which has no relation to itself.
        reach_x, reach_y: Objects that a person holds or rides may lie outside the person's box by this share of its
            width and height.
    """

    score_weight: float = 0.41
    color_weight: float = 0.63
    relation_weight: float = 0.26
    spatial_weight: float = 1.09
    min_color_share: float = 0.5
    color_floor: float = 0.03
    same_box_iou: float = 0.7
    reach_x: float = 0.15
    reach_y: float = 0.1


@dataclass(frozen=True)
class PresenceWeights:
    """Weights that turn evidence into a presence logit; see `presence.PresenceEvidence`.

    Attributes:
        map: Weight of the map's logit.
        detection: Weight of the detection's logit.
        classes: Weight of the classes' logit.
        shift: Added.
    """

    map: float = 1.0
    detection: float = 0.0
    classes: float = 0.0
    shift: float = 0.0


@dataclass(frozen=True)
class ClassifierSettings:
    """A classifier of parts of the image, and the weights of its evidence for presence, which lab/fit_evidence.py fits.

    Each kind of evidence at hand has weights of its own. A detected name counts as trained.

    Attributes:
        name: Name of the classifier.
        image_size: Longest side of its input, pixels.
        window_cells: Side of the windows that are classified, cells; the whole image is classified too.
        least_probability: Lower probabilities count as this one, which limits the evidence against presence.
        trained: A trained name, neither detectable nor among the classes.
        trained_and_classified: A trained name with classes.
        detected: A detectable name without classes.
        detected_and_classified: A detectable name with classes.
        untrained: A name that leans on its hypernym, without classes.
        untrained_and_classified: A name that leans on its hypernym, with classes.
        person_kind: A kind of person, of which `people` tells the detected people apart; that is the detection's logit.
    """

    name: ClassifierName
    image_size: int = 320
    window_cells: int = 3
    least_probability: float = 1e-4
    trained: PresenceWeights = field(default_factory=PresenceWeights)
    trained_and_classified: PresenceWeights = field(default_factory=PresenceWeights)
    detected: PresenceWeights = field(default_factory=PresenceWeights)
    detected_and_classified: PresenceWeights = field(default_factory=PresenceWeights)
    untrained: PresenceWeights = field(default_factory=PresenceWeights)
    untrained_and_classified: PresenceWeights = field(default_factory=PresenceWeights)
    person_kind: PresenceWeights = field(default_factory=PresenceWeights)


@dataclass(frozen=True)
class KindSettings:
    """Settings for the objects of a phrase that means a kind of a detected class; see docs/objects.md.

    Attributes:
        min_filled: A detection of a class is of the phrase's kind if the phrase's map fills at least this share of its
            box. Chosen on training images (lab/experiments.md).
        min_probability: A person is of a kind ("woman") from this probability on.
        least_of_gender: For presence, a lower probability of a gender counts as this: by their looks alone, nobody's
            gender is ruled out, so that the answer is "unsure" and not "absent" where someone is seen. Not fitted.
        min_person_score: Minimum score of a detected person.
        max_people: Maximum number of people to look at, best first; each takes a run of the classifier.
        head_aspect: Height of the part of a person's box that is looked at, in widths of the box.
        head_side: Longest side of that part as the classifier sees it, pixels.
    """

    min_filled: float = 0.15
    min_probability: float = 0.5
    least_of_gender: float = 0.2
    min_person_score: float = 0.15
    max_people: int = 12
    head_aspect: float = 1.2
    head_side: int = 224


@dataclass(frozen=True)
class PipelineSettings:
    """All thresholds of the pipeline.

    Attributes:
        least_presence: Below this presence, SAM does not refine the mask; the coarse mask is returned.
        sam_input_side: Longest side of SAM's input, pixels. Measured on held-out training images (lab/experiments.md).
        hypernym_share: Share of the hypernym's vector in the vector of an untrained name. Chosen with evaluation images
            too (lab/experiments.md).
        exemplar_context: Margin of an exemplar's crop on each side, as a share of the exemplar's extent.
        exemplar_min_share: Minimum side of the crop, as a share of the longer side of the exemplar's image.
        refine: Conditions under which SAM's mask replaces the coarse one.
        detection: Minimum scores of detections.
        separation: Settings for the separation of touching instances.
        kinds: Which detections are of a kind of the detected class.
        correction: Settings for the correction of a phrase's mask by clicks.
        cleaning: Which small islands and holes of masks are removed.
        ranking: Weights and thresholds for the ranking of referring expressions' candidates.
        panoptic: How the answers to many names become one map.
    """

    least_presence: float = 0.1
    sam_input_side: int = 640
    hypernym_share: float = 2 / 3
    exemplar_context: float = 0.5
    exemplar_min_share: float = 0.4
    refine: RefineSettings = field(default_factory=lambda: RefineSettings(min_agreement=0.4, num_points=1))
    detection: DetectionSettings = field(default_factory=DetectionSettings)
    separation: SeparationSettings = field(default_factory=SeparationSettings)
    kinds: KindSettings = field(default_factory=KindSettings)
    correction: CorrectionSettings = field(default_factory=CorrectionSettings)
    cleaning: CleaningSettings = field(default_factory=CleaningSettings)
    ranking: RankingSettings = field(default_factory=RankingSettings)
    panoptic: ProposalSettings = field(default_factory=lambda: ProposalSettings(merge=PANOPTIC_MERGE))

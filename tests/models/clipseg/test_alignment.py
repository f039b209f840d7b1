"""The alignment study: a command that runs offline on any CLIP, here a tiny one with random weights."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from data_trees import SIZE_HW, box_rle, write_index
from PIL import Image

from promptseg.images import read_image
from promptseg.models.clipseg.visual_prompt_variants import VARIANTS

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "exemplar_alignment.py"


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("exemplar_alignment", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPConfig, CLIPModel

    directory = tmp_path_factory.mktemp("clip")
    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (directory / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    tower = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 2}
    ends = {"bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1, "pad_token_id": len(tokens) - 1}
    torch.manual_seed(0)
    CLIPModel(
        CLIPConfig(
            text_config={**tower, **ends, "vocab_size": len(tokens), "projection_dim": 24},
            vision_config={**tower, "image_size": 64, "patch_size": 16, "projection_dim": 24},
            projection_dim=24,
        )
    ).save_pretrained(directory)
    return directory


@pytest.fixture
def index(tmp_path: Path) -> Path:
    masks = [
        {"category": name, "kind": "thing", "rle": box_rle(*box)}
        for name, box in [("cup", (0, 0, 20, 20)), ("dog", (20, 0, 32, 24)), ("fly", (0, 22, 2, 24))]
    ]
    shown = [masks, masks[:2], masks]
    records = [{"image": f"toy/{number}.png", "masks": each} for number, each in enumerate(shown)]
    path = write_index(tmp_path, "toy", records)
    rng = np.random.default_rng(0)
    for record in records:
        Image.fromarray(rng.integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)).save(tmp_path / str(record["image"]))
    return path


def test_a_line_for_each_row_of_the_papers_table(
    study: ModuleType, tiny_clip: Path, index: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study.main(["--clip", str(tiny_clip), "--index", str(index), "--objects", "3"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["variant"] for line in lines] == [name for name in VARIANTS if name != "highlight"]
    original, *others = lines
    assert (original["gain"], original["published"], original["objects"]) == (0.0, None, 3)
    assert len({line["gain"] for line in others}) > 10, "each variant shows CLIP another image"
    published = {line["variant"]: line["published"] for line in others}
    assert published["crop-blur-10"] == max(published.values()) == 23.5


def test_only_objects_of_that_size_in_images_of_three_names(study: ModuleType, index: Path) -> None:
    items = list(study.list_items([index], min_area=0.1))
    assert [item.names for item in items] == [("cup", "dog", "fly"), ("dog", "cup", "fly")] * 2
    assert len(list(study.list_items([index], min_area=0.4))) == 2


def test_probability_is_transformers_own(study: ModuleType, tiny_clip: Path, index: Path) -> None:
    from transformers import CLIPModel

    clip, item = study.Clip(str(tiny_clip)), next(study.list_items([index], min_area=0.1))
    (ours,) = study.probabilities(clip, item, ["original"])
    model = CLIPModel.from_pretrained(tiny_clip).eval()
    with torch.inference_mode():
        model.logit_scale.copy_(torch.tensor(100.0).log())
        tokens = clip.tokenizer([f"a photo of a {name}" for name in item.names], padding=True, return_tensors="pt")
        rgb = np.asarray(Image.fromarray(read_image(item.sample.image)).resize((64, 64), Image.Resampling.BILINEAR))
        pixels = torch.tensor((rgb / 255 - clip.vision.mean) / clip.vision.std).permute(2, 0, 1)[None].float()
        expected = model(**tokens, pixel_values=pixels).logits_per_image.softmax(-1)[0, 0]
    assert ours == pytest.approx(float(expected), abs=1e-4)


def test_refuses_a_clip_of_another_shape_and_an_index_without_objects(
    study: ModuleType, tiny_clip: Path, index: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="no image has an object of that size and 3 names"):
        study.main(["--clip", str(tiny_clip), "--index", str(index), "--min-area", "0.9"])
    config = json.loads((tiny_clip / "config.json").read_text())
    config["vision_config"]["patch_size"] = 14
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SystemExit, match=r"width and patch \(32, 14\) are those of no tower here: base-patch16"):
        study.Clip(str(tmp_path))

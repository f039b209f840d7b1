"""The shape of the code, read from its source: imports go down only, and some things are never written."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import promptseg

PACKAGE = Path(promptseg.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# A part may import parts of lower levels, and itself; nothing sideways.
LEVELS = {
    "errors": 0, "stored_values": 0, "untrusted_files": 0, "_wording": 0, "_heic": 0, "skipped_files": 0,
    "_extras": 1, "_value_checks": 1, "language": 1, "image_files": 1,
    "_prompt_checks": 2, "images": 2,
    "prompts": 3,
    "ops": 4, "weights": 4, "losses": 4, "metrics": 4,
    "results": 5,
    "segmenter": 6, "regions": 6,
    "runtime": 7, "embedding": 7, "layers": 7,
    "encoders": 8, "sam": 8, "formats": 8,
    "detectors": 9, "_deprecated": 9,
    "models": 10, "everything": 10,
    "panoptic_map": 11, "request_checks": 11,
    "predictor": 12,
    "loading": 13, "client": 13,
    "langsam": 14, "data": 14, "batch": 14, "cvat": 14, "export": 14,
    "labeling": 15, "evaluate": 15,
    "train": 16, "pseudo_masks": 16, "server": 16,
    "cli": 17,
    "__main__": 18,
}  # fmt: skip

# Parts that stay below what their level would allow: samples are raw text and pixels, whatever model comes after.
CEILINGS = {"data": 4}
# The data sets that promptseg writes are samples too.
EXCEPTIONS = {("data", "formats")}

# Folders of `models` that hold one architecture each.
ARCHITECTURES = {"clipseg", "grounded_sam", "interactive", "promptseg", "promptseg_s1", "uniovseg"}
# Modules of `models` that know the architectures, and which of their modules they may import.
KNOWS = {"registry": None, "table": {"config"}, "build": {"network"}}

# Where torch may be imported at module level: networks, their training, and what reads the weights of others.
TORCH_FOLDERS = ("encoders/", "layers/", "train/", "pseudo_masks/", "weights/convert/", "evaluate/benchmarks/")
NO_TORCH_IN_FOLDERS = {
    "encoders/classifier.py",
    "encoders/pixels.py",
    "encoders/tokenizers.py",
    "encoders/tower_facts.py",
}
TORCH_FILES = {
    "detectors/efficientdet_net.py",
    "detectors/grounding_dino.py",
    "detectors/name_vectors.py",
    "detectors/owlv2.py",
    "detectors/yolo_world.py",
    "detectors/yolo_world_net.py",
    "export/clipseg_presence.py",
    "export/onnx_file.py",
    "export/prompted_decoder.py",
    "losses.py",
    "models/build.py",
    "models/checkpoint.py",
    "models/clipseg/decoder.py",
    "models/clipseg/files.py",
    "models/clipseg/layouts.py",
    "models/clipseg/network.py",
    "models/clipseg/network_steps.py",
    "models/promptseg/network.py",
    "models/promptseg/network_steps.py",
    "models/promptseg_s1/network.py",
    "models/promptseg_s1/network_steps.py",
    "models/uniovseg/files.py",
    "models/uniovseg/layouts.py",
    "models/uniovseg/network.py",
    "models/uniovseg/network_steps.py",
    "runtime/export.py",
    "runtime/torch_graph.py",
    "sam/decoder.py",
    "sam/mask_decode.py",
    "sam/mobile_sam_network.py",
    "sam/sam2.py",
    "sam/sam_vit.py",
    "sam/tiny_vit.py",
}

# Where everything may be caught, and why.
CATCH_EVERYTHING = {
    "batch/worker.py": "one image of many thousands must not end the run; its row says what happened",
    "cli/main.py": "libraries make other errors of an interrupt; without one, every error is raised again",
}

# Classes that share a name, and why.
SAME_CLASS_NAMES = {
    "Answer": "of a query: in an evaluation with its truth, in the default model with its map",
    "Attention": "a layer; a literal of CLIPSeg's visual prompts",
    "Exam": "of a benchmark; before and after training",
    "Head": "of a detector, as its paper names it",
    "Mlp": "TinyViT's has a norm of its own, under published names",
    "Run": "of an evaluation; of training",
    "Stage": "of a backbone, as its paper names it",
}
# Files that have one name in many folders: one for each model or kind.
SAME_FILE_NAMES = {
    "__init__", "base", "build", "config", "files", "graphs", "network", "network_steps", "pixels", "segmenter", "table"
}  # fmt: skip


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The imports that run when a module is imported."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test):
            yield from module_level(node.body)
        elif isinstance(node, ast.Try):
            yield from module_level(node.body)


def roots(nodes: Iterable[ast.AST]) -> set[str]:
    return {name.split(".")[0] for node in nodes for name in imported_modules(node)}


def run_python(script: str) -> set[str]:
    """Run a script in a new process; give the modules that are loaded at its end."""
    script += "\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def imported_modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            # `from promptseg import weights` names a part, `from promptseg.weights import x` too.
            if node.module == "promptseg":
                yield from (f"promptseg.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


def test_the_modules_were_found() -> None:
    assert len(MODULES) > 40
    parts = {part_of(path) for path in MODULES} - {"__init__"}
    assert parts == set(LEVELS), "a new part gets its level here"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        return
    for name in imported_modules(parse(path)):
        package, _, inner = name.partition(".")
        if package != "promptseg" or not inner:
            continue
        target = inner.split(".")[0]
        if target == part or (part, target) in EXCEPTIONS:
            continue
        limit = CEILINGS.get(part, LEVELS[part] - 1)
        assert LEVELS.get(target, -1) <= limit, f"{part} (level {LEVELS[part]}) imports {target}"


@pytest.mark.parametrize(
    "path", [path for path in MODULES if part_of(path) == "models"], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_architectures_do_not_know_each_other(path: Path) -> None:
    inner = path.relative_to(PACKAGE / "models").with_suffix("").parts
    for name in imported_modules(parse(path)):
        if not name.startswith("promptseg.models."):
            continue
        folder, *module = name.removeprefix("promptseg.models.").split(".")
        if folder not in ARCHITECTURES:
            assert folder != "registry" or inner[0] not in ARCHITECTURES or inner[-1] == "files", f"imports {name}"
        elif inner[0] in ARCHITECTURES:
            assert folder == inner[0], f"{'/'.join(inner)} imports {name}"
        else:
            assert inner[0] in KNOWS, f"{inner[0]} imports {name}"
            allowed = KNOWS[inner[0]]
            assert allowed is None or module[0] in allowed, f"{inner[0]} imports {name}"


def test_every_architecture_is_a_folder() -> None:
    folders = {path.name for path in (PACKAGE / "models").iterdir() if path.is_dir() and path.name[0] != "_"}
    assert folders == ARCHITECTURES


def test_language_is_plain_python() -> None:
    for path in (PACKAGE / "language").glob("*.py"):
        assert not roots(ast.walk(parse(path))) & {"numpy", "torch", "scipy", "PIL", "transformers"}, path


def test_torch_is_imported_by_networks_only() -> None:
    with_torch = {relative(path) for path in MODULES if "torch" in roots(module_level(parse(path).body))}
    assert not with_torch & NO_TORCH_IN_FOLDERS
    assert {name for name in with_torch if not name.startswith(TORCH_FOLDERS)} <= TORCH_FILES
    assert all((PACKAGE / name).exists() for name in TORCH_FILES | NO_TORCH_IN_FOLDERS)


def test_what_loads_and_answers_does_without_torch() -> None:
    modules = (
        "promptseg.embedding promptseg.labeling promptseg.language.reading "
        "promptseg.models.registry promptseg.models.tiled "
        "promptseg.models.interactive.build promptseg.models.promptseg.build promptseg.models.promptseg_s1.build "
        "promptseg.loading promptseg.results promptseg.runtime.openvino_graph promptseg.sam.load "
        "promptseg.sam.mobile_sam promptseg.segmenter"
    )
    loaded = run_python(f"import {modules.replace(' ', ', ')}")
    assert not loaded & {"torch", "transformers", "scipy", "supervision", "matplotlib"}
    assert not run_python("import promptseg.models.clipseg.build") & {"torch", "transformers"}


def test_importing_the_package_imports_nothing_else() -> None:
    loaded = run_python("import promptseg")
    assert {name for name in loaded if name.startswith("promptseg")} == {"promptseg"}
    assert not loaded & {"numpy", "PIL", "torch", "openvino"}


def test_listing_the_models_imports_no_engine() -> None:
    loaded = run_python("import promptseg\npromptseg.list_models()")
    assert not loaded & {"torch", "transformers", "openvino", "scipy", "tokenizers"}


def test_classes_have_names_of_their_own() -> None:
    homes = defaultdict(list)
    for path in MODULES:
        for node in parse(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(relative(path))
    assert not {name: where for name, where in homes.items() if len(where) > 1 and name not in SAME_CLASS_NAMES}


def test_no_file_name_stands_in_three_folders() -> None:
    homes = defaultdict(list)
    for path in MODULES:
        homes[path.stem].append(relative(path))
    assert not {stem: where for stem, where in homes.items() if len(where) > 2 and stem not in SAME_FILE_NAMES}


def test_only_weights_opens_network_connections() -> None:
    network = {"http", "urllib", "socket", "requests", "httpx", "huggingface_hub", "ftplib"}
    users = {
        relative(path) for path in MODULES for name in imported_modules(parse(path)) if name.split(".")[0] in network
    }
    # serve_run listens; a cluster's, Label Studio's and a server's addresses are the user's; urllib.parse only takes
    # them apart, and puts together the path of a request
    assert {path for path in users if not path.startswith("weights/")} == {
        "batch/ray_cluster.py",
        "client/remote_predictor.py",
        "client/server_address.py",
        "cli/serve_run.py",
        "formats/labelstudio.py",
        "server/label_studio/picture_access.py",
        "server/label_studio/task_pictures.py",
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_never_written(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert ast.get_docstring(tree), "every module says what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "exec", "eval", "input", "breakpoint"}, f"line {node.lineno}"
        assert not isinstance(node, ast.Global | ast.Nonlocal), "module state"
        if isinstance(node, ast.ExceptHandler):
            caught = node.type
            broad = caught is None or (isinstance(caught, ast.Name) and caught.id in {"Exception", "BaseException"})
            assert not broad or relative(path) in CATCH_EVERYTHING, f"line {node.lineno} catches everything"
    for word in ("TODO", "FIXME", "XXX"):
        assert word not in source


def test_no_drawer_for_everything() -> None:
    assert not {path.stem for path in MODULES} & {"utils", "util", "misc", "helpers", "common", "tools"}


def test_nothing_that_drags_in_torchvision() -> None:
    for path in MODULES:
        for name in imported_modules(parse(path)):
            assert name.split(".")[0] not in {"torchvision", "timm", "open_clip"}, path


def test_the_package_never_imports_the_lab() -> None:
    for path in MODULES:
        for name in imported_modules(ast.parse(path.read_text(encoding="utf-8"))):
            assert name.split(".")[0] != "lab", path

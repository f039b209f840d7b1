"""Write the golden answers of the default model: `python tests/golden/make_answers.py`.

Run it only where an answer is meant to change, and say in the commit why it does.
"""

import json
import sys
from pathlib import Path
from typing import Any

import promptseg
from promptseg.results import QueryResult

sys.path.insert(0, str(Path(__file__).parent))
from golden_requests import iterate_requests

ANSWERS = Path(__file__).with_name("answers.json")


def describe(result: QueryResult) -> dict[str, Any]:
    """Give what a golden answer keeps of a result."""
    described = result.to_dict()
    return {
        "presence": round(result.presence, 5),
        "mask": described["mask"],
        "instances": [
            {"box_xyxy": each["box_xyxy"], "score": round(each["score"], 5)} for each in described["instances"]
        ],
    }


def main() -> None:
    """Ask everything, and write what comes back."""
    model = promptseg.load(engine="torch")
    answers = {}
    for request in iterate_requests():
        predictor = model if request.tile_side is None else model.tiled(request.tile_side)
        answers[request.name] = describe(predictor.segment(request.path, request.query, threshold=0.0)[0])
    ANSWERS.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

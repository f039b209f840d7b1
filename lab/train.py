"""Train the default model on this project's data: `promptseg train lab/recipe.py`, with this folder on the path.

python -m lab.train --data DATA --pseudo MASKS --out runs/first [--init CHECKPOINT] [--resume]
"""

import sys
from pathlib import Path

from promptseg.cli.main import main

if __name__ == "__main__":
    main(["train", str(Path(__file__).with_name("recipe.py")), *sys.argv[1:]])

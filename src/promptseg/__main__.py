"""`python -m promptseg`: the command line."""

from promptseg.cli.main import main

if __name__ == "__main__":
    main()

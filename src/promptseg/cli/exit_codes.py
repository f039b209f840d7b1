"""Exit codes beside 0 (success), 1 (some images failed) and 2 (invalid request): those that a shell reports."""

INTERRUPTED = 128 + 2  # Ctrl-C, which is SIGINT
READER_GONE = 128 + 13  # the output's reader has gone, as with `promptseg ... | head`, which is SIGPIPE

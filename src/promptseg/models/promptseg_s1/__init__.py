"""The published PromptSeg: frozen towers with a trained neck and a SAM-style mask decoder."""

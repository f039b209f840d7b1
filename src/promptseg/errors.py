"""Every error that promptseg raises on purpose; catch `PromptsegError` to catch them all.

PromptsegError
├── PromptError                a prompt is malformed or out of range
│   ├── OutsideImageError    a prompt does not lie in this image, or is of another size
│   └── UnsupportedPromptError the model does not take this kind of prompt
├── ImageError                 the image can't be read, or is outside the limits
├── UnknownModelError          no such model; the message names the near ones
├── WeightsError               a weight file is missing, damaged or can't be fetched
│   └── OfflineError           it would have to be fetched, and the caller said not to
├── CheckpointError            a checkpoint does not fit the model it is loaded into
├── DataError                  an annotation or data directory is malformed
├── OutputError                a result can't be written where it was asked to go
├── RecipeError                a training recipe can't be loaded, or asks for what does not exist
├── TrainingError              training can't go on; the message names step and samples
├── EngineError                the inference engine is unknown or can't run this model here
└── MissingExtraError          an optional dependency is not installed; the message is the pip command
"""


class PromptsegError(Exception):
    """Base of every error that promptseg raises on purpose."""


class PromptError(PromptsegError):
    """A prompt is malformed or out of range."""


class UnsupportedPromptError(PromptError):
    """The model does not take this kind of prompt."""


class OutsideImageError(PromptError):
    """A prompt does not lie in this image, or is of another size; it may fit others."""


class ImageError(PromptsegError):
    """The image can't be read, or is outside the limits."""


class UnknownModelError(PromptsegError):
    """No model of that name; the message names the near ones."""


class WeightsError(PromptsegError):
    """A weight file is missing, damaged or can't be fetched."""


class OfflineError(WeightsError):
    """A weight file would have to be fetched, and the caller said not to."""


class CheckpointError(PromptsegError):
    """A checkpoint does not fit the model it is loaded into."""


class DataError(PromptsegError):
    """An annotation or data directory is malformed."""


class OutputError(PromptsegError):
    """A result can't be written where it was asked to go."""


class RecipeError(PromptsegError):
    """A training recipe can't be loaded, or asks for what does not exist."""


class TrainingError(PromptsegError):
    """Training can't go on; the message names step and samples."""


class EngineError(PromptsegError):
    """The inference engine is unknown or can't run this model here."""


class MissingExtraError(PromptsegError):
    """An optional dependency is not installed."""

"""All errors that promptseg raises on purpose; catch `PromptsegError` to catch them all.

PromptsegError
├── PromptError                a prompt is malformed, or a number is out of range
│   ├── OutsideImageError      a prompt lies outside this image, or has another size
│   ├── UnsupportedPromptError the model does not take this kind of prompt
│   └── UnknownLabelError      a result has no query with this label; also a KeyError
├── ImageError                 the image can't be read, or exceeds the limits
│   └── ImageTooLargeError     the image exceeds the limits on bytes or pixels
├── UnknownModelError          there is no such model; the message names similar ones
├── WeightsError               a weight file is missing, damaged or can't be fetched
│   └── OfflineError           a weight file is not cached, and the caller forbade fetching it
├── CheckpointError            a checkpoint does not fit the model that it is loaded into
├── DataError                  an annotation or data directory is malformed
├── OutputError                a result can't be written to the requested place
├── RecipeError                a training recipe can't be loaded, or names something that does not exist
├── TrainingError              training can't go on; the message names step and samples
├── EngineError                the inference engine is unknown or can't run this model here
├── ServerError                a `promptseg serve` does not answer, or refuses the request
└── MissingExtraError          an optional dependency is not installed; the message is the pip command

PromptsegWarning               a UserWarning: something was done otherwise than the caller may expect
├── LanguageWarning            a phrase is in a script that the models were not trained on
└── ImageWarning               a part of an image file was not read
"""


class PromptsegWarning(UserWarning):
    """Base of every warning of promptseg; the command line shows each in one line."""


class LanguageWarning(PromptsegWarning):
    """A phrase is in a script that the models were not trained on, is negated, or asks for everything."""


class ImageWarning(PromptsegWarning):
    """A part of an image file was not read, such as the other pages of a TIFF."""


class PromptsegError(Exception):
    """Base of every error that promptseg raises on purpose."""


class PromptError(PromptsegError):
    """A prompt is malformed, or a number is out of range."""


class UnsupportedPromptError(PromptError):
    """The model does not take this kind of prompt."""


class OutsideImageError(PromptError):
    """A prompt lies outside this image, or has another size; it may fit other images."""


class UnknownLabelError(PromptError, KeyError):
    """A result has no query with this label; the message lists the labels."""

    # KeyError would show its message in quotes
    __str__ = Exception.__str__


class ImageError(PromptsegError):
    """The image can't be read, or exceeds the limits."""


class ImageTooLargeError(ImageError):
    """The image exceeds the limits on bytes or pixels; a smaller one would be taken."""


class UnknownModelError(PromptsegError):
    """There is no model of that name; the message names similar ones."""


class WeightsError(PromptsegError):
    """A weight file is missing, damaged or can't be fetched."""


class OfflineError(WeightsError):
    """A weight file is not cached, and the caller forbade fetching it."""


class CheckpointError(PromptsegError):
    """A checkpoint does not fit the model that it is loaded into."""


class DataError(PromptsegError):
    """An annotation or data directory is malformed."""


class OutputError(PromptsegError):
    """A result can't be written to the requested place."""


class RecipeError(PromptsegError):
    """A training recipe can't be loaded, or names something that does not exist."""


class TrainingError(PromptsegError):
    """Training can't go on; the message names step and samples."""


class EngineError(PromptsegError):
    """The inference engine is unknown or can't run this model here."""


class ServerError(PromptsegError):
    """A `promptseg serve` does not answer, or refuses the request for a reason of its own."""


class MissingExtraError(PromptsegError):
    """An optional dependency is not installed; the message is the pip command."""

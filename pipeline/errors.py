"""What can go wrong, as one tree; every message says what, where, expected, got and the next step.

ProxyAnoError
├── DatasetUnusable      a raw folder or archive holds nothing the lane can use
├── UnusableImage        one image or mask cannot be used; it is quarantined by name and the lane goes on
│   ├── EmptyFrame       a slice or page among others shows nothing
│   └── NoImage          a sound file of another purpose
├── NeverMaterialized    a store has no published version yet
├── StoreCorrupt         a published store does not hold what its marker says
├── TransferFailed       a download did not come through; the same command goes on where it stopped
├── ContentDiffers       a downloaded file is not the one expected, or an archive is not safe to unpack
└── ConfigError          a configuration value is outside its range
"""

REMEDY = "; run: proxyano refresh"  # end of the sentence about something that a refresh makes again


class ProxyAnoError(Exception):
    """Root of the errors this project raises on purpose."""


class DatasetUnusable(ProxyAnoError):
    """A raw folder or archive holds nothing the lane can use."""


class UnusableImage(ProxyAnoError):
    """One image or mask cannot be used; the text is the reason shown in the quarantine list."""

    kind = "unusable"  # in the column ``decision`` of a scored folder


class EmptyFrame(UnusableImage):
    """A slice or page among others that shows nothing, as at the ends of most volumes."""

    kind = "empty slice"


class NoImage(UnusableImage):
    """A sound file of another purpose: a report, a dose, a segmentation."""

    kind = "no image"


class NeverMaterialized(ProxyAnoError):
    """A store has no published version yet."""


class StoreCorrupt(ProxyAnoError):
    """A published store does not hold what its completion marker says."""


class TransferFailed(ProxyAnoError):
    """A download did not come through; what came of it is kept."""


class ContentDiffers(ProxyAnoError):
    """A downloaded file is not the one expected, or an archive is not safe to unpack."""


class ConfigError(ProxyAnoError, ValueError):
    """A configuration value is outside its range."""

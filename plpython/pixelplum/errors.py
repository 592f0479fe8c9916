"""The errors that a SQL user meets: each has a SQLSTATE of its own and a hint.

The docstring of an error class is its default message, so `raise
ZeroVector(hint=…)` and the reference documentation say the same thing.
"""

from __future__ import annotations


def shown(value) -> str:
    """Return how an error shows a value that somebody has given."""
    return "NULL" if value is None else repr(value)


def shown_list(values: list | None) -> str:
    """Return how an error shows an array that somebody has given, as SQL writes it, and not all of a long one."""
    if values is None:
        return "NULL"
    return "{" + ",".join("NULL" if value is None else str(value) for value in values[:20]) + "}"


def literal(text: str) -> str:
    """Return how SQL writes a text, for messages and for statements that a hint proposes."""
    return "'" + text.replace("'", "''") + "'"


class PixelplumError(Exception):
    """Pixelplum cannot do what was asked."""

    sqlstate = "PX000"
    hint: str | None = None

    def __init__(self, message: str | None = None, *, hint: str | None = None):
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])
        if hint is not None:
            self.hint = hint


def error_of(sqlstate: str, message: str, hint: str) -> PixelplumError:
    """Return an error of a SQLSTATE that is known when the program runs."""
    error = PixelplumError(message, hint=hint)
    error.sqlstate = sqlstate
    return error


class VersionMismatch(PixelplumError):
    """The SQL functions and the Python package have different versions."""

    sqlstate = "PX001"


class UnusableArgument(PixelplumError):
    """An argument cannot be used."""

    sqlstate = "PX003"


class ImageError(PixelplumError):
    """The bytes are not an image that can be read."""

    sqlstate = "PX010"
    hint = "Give the bytes of a whole image file; where they are stored, load the image again or delete it."


class ImageTooLarge(ImageError):
    """The image takes more than 500 MB or two seconds to decode."""

    sqlstate = "PX011"
    hint = "Scale the image down before loading it."


class ModelMissing(PixelplumError):
    """The model's file is not in this host's cache."""

    sqlstate = "PX021"
    hint = "SELECT pix.warm_up(model_name) restores it from the database."


class ModelBroken(PixelplumError):
    """The model's graph cannot be loaded or run."""

    sqlstate = "PX022"
    hint = "Import the model again with: pix model import"


class ModelUnsafe(ModelBroken):
    """The model does more than compute."""

    hint = "Export the network again, frozen: only what computes features, without files, tables, loops or code."


class ModelOutput(ModelBroken):
    """The model's output is not one vector per image."""

    sqlstate = "PX023"
    hint = "Name a layer that gives one vector per image with --output."


class CacheUnusable(PixelplumError):
    """The cache folder of this host cannot be used."""

    sqlstate = "PX024"
    hint = "Make room in it, or set PIX_CACHE for the postmaster to a folder that it may write, and restart it."


class FilesVanish(CacheUnusable):
    """Files of the cache folder vanish as soon as they are restored."""

    hint = "Find out what removes them: SELECT found FROM pix.doctor() WHERE \"check\" = 'cache';"


class ModelBlind(ModelBroken):
    """The model does not tell images apart."""

    sqlstate = "PX025"
    hint = "Say how pixels are scaled for it with --mean and --std, or name another layer with --output."


class EngineMissing(PixelplumError):
    """The engine is not installed on this host."""

    sqlstate = "PX026"
    hint = "Install TensorFlow for the server's Python: pip install 'pixelplum[tensorflow]'"


class SettingUnusable(PixelplumError):
    """A row of pix.settings holds what is not a number."""

    sqlstate = "PX028"
    hint = "Correct it: UPDATE pix.settings SET value = … WHERE key = …"


class UnknownLayer(PixelplumError):
    """The model has no layer of this name, or one without maps."""

    sqlstate = "PX029"
    hint = "SELECT * FROM pix.model_layers(model_name) lists the layers: those with four axes have maps."


class TooFewItems(PixelplumError):
    """The label set has too few items for what is asked."""

    sqlstate = "PX072"
    hint = "Label more items of each class, or use algorithm => 'softmax'."


class LabelsUnknown(PixelplumError):
    """Labels name items that are not in the catalogue."""

    sqlstate = "PX073"


class FeaturesMissing(PixelplumError):
    """Labeled items lack features that classifiers are trained on."""

    sqlstate = "PX074"


class TooManyFeatures(PixelplumError):
    """There are more features or images than one call can take."""

    sqlstate = "PX078"


class TooUnlike(PixelplumError):
    """An INT8 model keeps too few of the nearest neighbors."""

    sqlstate = "PX080"
    hint = "Use the float model, calibrate on more images, or take it as it is with force => true."


class TooFewImages(PixelplumError):
    """There are too few images to calibrate and compare on."""

    sqlstate = "PX081"
    hint = "Load at least 20 images; a few hundred tell more."


class VectorError(PixelplumError):
    """The feature vectors cannot be compared."""

    sqlstate = "PX030"
    hint = "A vector is at least one number, and all its numbers are finite."


class ZeroVector(VectorError):
    """Cosine distance is not defined for a vector of zeros."""

    sqlstate = "PX031"
    hint = "Use metric => 'euclidean', or extract the item's features again."


class IndexBusy(PixelplumError):
    """The index is being written by another session."""

    sqlstate = "PX093"
    hint = "SELECT * FROM pix.builds shows its progress; call again when it is done."


class IndexBroken(PixelplumError):
    """The stored parts of an index or a block are missing or damaged."""

    sqlstate = "PX094"
    hint = "Make it again: SELECT pix.pack_features(model_name); SELECT pix.build_index(…);"


class NotPacked(PixelplumError):
    """Features are not packed, and nothing can be written."""

    sqlstate = "PX061"


class FeaturesKeepChanging(PixelplumError):
    """Features are packed again and again while they are looked at."""

    sqlstate = "PX097"
    hint = "Call it again when loading and extracting are done."


class TooManyPairs(PixelplumError):
    """More than a million pairs of items are that near."""

    sqlstate = "PX096"
    hint = "Ask for a smaller max_distance; pix.identical_images finds identical files."


class TooFewDistinct(PixelplumError):
    """There are fewer features that differ than clusters."""

    sqlstate = "PX102"
    hint = "Use a smaller k."


class TooFewPoints(PixelplumError):
    """There are too few items for a map."""

    sqlstate = "PX112"
    hint = "Load and extract more images, or map a larger cluster."


class MapOutdated(PixelplumError):
    """The map's model has changed since it was made."""

    sqlstate = "PX113"


class UmapMissing(PixelplumError):
    """UMAP is not installed on this host."""

    sqlstate = "PX114"
    hint = "Install it for the server's Python: pip install 'pixelplum[umap]', or use algorithm => 'tsne'."


class VotesHeld(PixelplumError):
    """Votes wait for a transaction that does not end."""

    sqlstate = "PX063"
    hint = "Have it committed; idle_in_transaction_session_timeout ends such a session by itself."


class UnusableVotes(PixelplumError):
    """The votes must be a JSON array of objects."""

    sqlstate = "PX121"
    hint = 'Give an array of objects: [{"user_id": "ann", "item_id": "B005IYS5ZA", "liked": true}]'


class NothingToTell(PixelplumError):
    """What synthetic users like must follow from labels, or an attribute of two values."""

    sqlstate = "PX129"
    hint = "Name a label set of pix.labels, brand, or a key of the attributes of pix.items."


class UserModelOutdated(PixelplumError):
    """The user's model is of other features."""

    sqlstate = "PX132"


class NoCommonTaste(PixelplumError):
    """What users have in common has not been learned."""

    sqlstate = "PX137"


class UserModelBroken(PixelplumError):
    """The stored model of a user is damaged."""

    sqlstate = "PX131"
    hint = "Train it again: SELECT * FROM pix.train_user_model(user_id);"


class TooFewVotes(PixelplumError):
    """There are too few votes for what is asked."""

    sqlstate = "PX134"


class NoUserModel(PixelplumError):
    """The user has no such model."""

    sqlstate = "PX139"


class Untrainable(PixelplumError):
    """A model cannot be trained on these numbers."""

    sqlstate = "PX136"


class OtherRun(PixelplumError):
    """A run of this name has asked for something else."""

    sqlstate = "PX140"


class UnusableModelName(PixelplumError):
    """The name cannot be used for a model with metadata."""

    sqlstate = "PX152"


class NoMetadata(PixelplumError):
    """No item has any of the metadata."""

    sqlstate = "PX153"
    hint = "Load metadata with: pix load metadata, or name other fields."


class BaseModelChanged(PixelplumError):
    """The model that metadata were appended to was imported again."""

    sqlstate = "PX154"

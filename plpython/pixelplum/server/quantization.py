"""INT8 models: made from a model and some images, and offered only with what they cost."""

from __future__ import annotations

import hashlib

from pixelplum.core.networks import quantization
from pixelplum.core.search.vectors import from_bytes
from pixelplum.errors import TooFewImages, TooManyFeatures, TooUnlike, UnusableArgument, literal
from pixelplum.server import cache as files
from pixelplum.server.database import Database, Model
from pixelplum.server.drivers import driver
from pixelplum.server.features import embed_images

COMPARED = 500
"""Images that both models are compared on, at most."""
FEWEST = 20
TIMED = 20
MOST_BYTES = 500_000_000
LEAST_OVERLAP = 0.90
NEIGHBORS = 10
PART_BYTES = 4 << 20

IS_QUANTIZED = "SELECT EXISTS (SELECT FROM pix.quantizations q WHERE q.model_name = $model_name::text)"
IS_OTHER = f"SELECT EXISTS (SELECT FROM pix.models m WHERE m.model_name = $model_name::text) AND NOT ({IS_QUANTIZED})"
PREPARE = "SELECT pix_internal.ensure_model(pix_internal.model_checksum($model_name::text), verify => true)"
# In the order of a hash, the one that splits items for training: a random order, and the same each time. The first are
# of the test part, and are compared; the last calibrate.
IMAGES = """
SELECT i.item_id FROM pix.images i
WHERE NOT EXISTS (SELECT FROM pix.extraction_failures x WHERE x.item_id = i.item_id)
ORDER BY sha256(convert_to(i.item_id, 'UTF8')) {order} LIMIT $count::int8
"""
SIZE = "SELECT sum(octet_length(i.content)::int8)::int8 FROM pix.images i WHERE i.item_id = ANY ($item_ids::text[])"
CONTENTS = "SELECT i.content FROM pix.images i WHERE i.item_id = ANY ($item_ids::text[]) ORDER BY i.item_id"
STORE_PART = """
INSERT INTO pix_internal.model_parts (checksum, part, content) VALUES ($checksum::text, $part::int, $content::bytea)
ON CONFLICT DO NOTHING
"""
REGISTER = "SELECT pix.register_model($model_name::text, $checksum::text, $source::text)"
CLASSIFIER = """
SELECT c.classifier, c.checksum, c.label_set FROM pix.classifiers c
WHERE c.model_name = $model_name::text AND c.model_checksum = $checksum::text AND c.label_set IS NOT NULL
ORDER BY c.trained_at DESC LIMIT 1
"""
EMBEDDED = """
SELECT count(*) AS images, string_agg((c.embedding).vector, ''::bytea ORDER BY c.item_id) AS vectors
FROM pg_temp.pix_chunk c WHERE (c.embedding).sqlstate IS NULL
"""
ACCURACY = """
SELECT avg((l.label = (
    pix_internal.best_class((c.embedding).vector, $classifier::text, $checksum::text)
).label)::int)::float8 AS accuracy
FROM pg_temp.pix_chunk c JOIN pix.labels l ON l.item_id = c.item_id AND l.label_set = $label_set::text
WHERE (c.embedding).sqlstate IS NULL AND pix.split_of(c.item_id) = 'test'
"""
FORGET = "DELETE FROM pix.quantizations q WHERE q.model_name = $model_name::text"
STORE = """
INSERT INTO pix.quantizations (model_name, quantized_from, model_checksum, float_checksum, calibrated_on, compared_on,
    overlap, classifier, float_accuracy, int8_accuracy, float_ms, int8_ms, float_mb, int8_mb)
VALUES ($model_name::text, $quantized_from::text, $model_checksum::text, $float_checksum::text, $calibrated_on::int,
    $compared_on::int, $overlap::float8, $classifier::text, $float_accuracy::float8, $int8_accuracy::float8,
    $float_ms::float8, $int8_ms::float8, $float_mb::float8, $int8_mb::float8)
"""


@driver
def quantize_model(database: Database, model_name: str | None, as_name: str, calibrate: int, force: bool) -> None:
    """Make an INT8 model of a model, and measure what it costs: the body of ``pix.quantize_model``."""
    database.lock("models", "all")
    model = database.model(model_name)
    refuse_name(database, model, as_name)
    database.run(PREPARE, model_name=model.model_name)
    sample = images(database, COMPARED, "ASC")
    if len(sample) < FEWEST:
        raise TooFewImages(f"There are {len(sample)} images, too few to calibrate and compare on")
    calibration = images(database, calibrate, "DESC")
    if database.value(SIZE, item_ids=calibration) > MOST_BYTES:
        raise TooManyFeatures(
            f"The {len(calibration)} images to calibrate on have more than 500 MB",
            hint="Calibrate on fewer images: 100 are usual, 20 will do.",
        )
    contents = contents_of(database, calibration)
    file, used = database.work(lambda: quantization.quantize(files.existing(model.checksum), contents))
    checksum = hashlib.sha256(file).hexdigest()
    for part, start in enumerate(range(0, len(file), PART_BYTES)):
        database.run(STORE_PART, checksum=checksum, part=part, content=file[start : start + PART_BYTES])
    source = f"INT8 of {model.model_name}, calibrated on {used} images"
    database.run(REGISTER, model_name=as_name, checksum=checksum, source=source)

    classifier = database.row(CLASSIFIER, model_name=model.model_name, checksum=model.checksum)
    float_side = embed_sample(database, sample, model.checksum, classifier)
    int8_side = embed_sample(database, sample, checksum, classifier)
    timed = contents_of(database, sample[:TIMED])
    database.run(FORGET, model_name=as_name)
    report = {
        "compared_on": float_side["images"],
        "overlap": database.work(lambda: overlap(float_side, int8_side)),
        "classifier": classifier["classifier"] if float_side["accuracy"] is not None else None,
        "float_accuracy": float_side["accuracy"], "int8_accuracy": int8_side["accuracy"],
        **database.work(lambda: measure(model.checksum, checksum, timed)),
    }  # fmt: skip
    database.run(
        STORE, model_name=as_name, quantized_from=model.model_name, model_checksum=checksum,
        float_checksum=model.checksum, calibrated_on=used, **report,
    )  # fmt: skip
    if report["overlap"] < LEAST_OVERLAP and not force:
        raise TooUnlike(
            f"In INT8, {literal(model.model_name)} keeps only {100 * report['overlap']:.1f} % of the ten nearest "
            f"neighbors (of {report['compared_on']} images; {report['int8_ms']:.1f} instead of "
            f"{report['float_ms']:.1f} ms an image)"
        )


def refuse_name(database: Database, model: Model, as_name: str) -> None:
    """Refuse a model that is quantized already, and the name of a model of another kind."""
    if as_name == model.model_name:
        raise UnusableArgument(
            f"as_name must be a new name, not the model's own, {literal(as_name)}",
            hint=f"Use another one, such as {literal(model.model_name[:190] + '_int8')}.",
        )
    if database.value(IS_QUANTIZED, model_name=model.model_name):
        raise UnusableArgument(
            f"Model {literal(model.model_name)} is quantized already", hint="Quantize the model that it was made from."
        )
    if database.value(IS_OTHER, model_name=as_name):
        raise UnusableArgument(
            f"Model {literal(as_name)} is not an INT8 model, and is not replaced",
            hint=f"Choose another name, or remove it first: SELECT pix.drop_model({literal(as_name)});",
        )


def images(database: Database, count: int, order: str) -> list[str]:
    """Return the first or the last images in the order of a hash."""
    return [row["item_id"] for row in database.rows(IMAGES.format(order=order), count=count)]


def contents_of(database: Database, item_ids: list[str]) -> list[bytes]:
    """Return the files of images."""
    return [row["content"] for row in database.rows(CONTENTS, item_ids=item_ids)]


def embed_sample(database: Database, item_ids: list[str], checksum: str, classifier: dict | None) -> dict:
    """Compute features of images, and how often a classifier is right by them, on those of its test part."""
    embed_images(database, item_ids, checksum, "onnxruntime")
    accuracy = database.value(ACCURACY, **classifier) if classifier else None
    return database.row(EMBEDDED) | {"accuracy": accuracy}


def overlap(float_side: dict, int8_side: dict) -> float:
    """Return the fraction of nearest neighbors that two models' vectors of the same images have in common."""
    a, b = (from_bytes(side["vectors"]).reshape(side["images"], -1) for side in (float_side, int8_side))
    return quantization.neighbor_overlap(a, b, NEIGHBORS)


def measure(float_checksum: str, int8_checksum: str, contents: list[bytes]) -> dict:
    """Return milliseconds an image and memory of two models, in turn, on one core."""
    paths = files.existing(float_checksum), files.existing(int8_checksum)
    (float_ms, float_mb), (int8_ms, int8_mb) = quantization.measure(paths, contents)
    return {"float_ms": float_ms, "int8_ms": int8_ms, "float_mb": float_mb, "int8_mb": int8_mb}

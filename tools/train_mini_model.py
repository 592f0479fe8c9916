"""Train `mini_inception`, the small network that Pixelplum ships, from scratch.

    python tools/train_mini_model.py IMAGES OUT.onnx [--epochs 45] [--seed 7]

IMAGES holds one folder of photographs per label. A tenth of them, chosen by
a hash of the file name, is held out and never trained on; the accuracy on it
is printed and belongs into the model card. Takes half an hour on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("plpython", "loader")]

from pixelplum.core.networks.images import decode  # noqa: E402
from pixload.conversion.converted import Wishes, save  # noqa: E402
from pixload.conversion.keras_models import freeze_keras  # noqa: E402
from pixload.conversion.onnx_files import append_head  # noqa: E402
from pixload.conversion.tensorflow_graphs import convert  # noqa: E402

SIZE = 96


def is_held_out(path: Path) -> bool:
    """Tell whether an image belongs to the held-out tenth, for ever."""
    return int(hashlib.sha1(path.name.encode()).hexdigest(), 16) % 10 == 0


def read_images(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Return pixels (n, 96, 96, 3) uint8, labels (n,) int, held-out mask (n,), label names."""
    paths = sorted(folder.glob("*/*.jpg"))
    names = sorted({path.parent.name for path in paths})
    pixels = np.stack([decode(path.read_bytes(), SIZE, SIZE) for path in paths])
    labels = np.array([names.index(path.parent.name) for path in paths])
    return pixels, labels, np.array([is_held_out(path) for path in paths]), names


def convolution(x, filters: int, size: int = 3, strides: int = 1):
    """Convolution, batch normalization, ReLU."""
    x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.95)(x)
    return layers.ReLU()(x)


def inception(x, filters: int):
    """Four parallel paths (1x1, 3x3, two 3x3, pooled 1x1) after Szegedy et al. 2015, joined."""
    half = filters // 2
    paths = [
        convolution(x, half, 1),
        convolution(convolution(x, half, 1), filters, 3),
        convolution(convolution(convolution(x, half // 2, 1), half, 3), half, 3),
        convolution(layers.AveragePooling2D(3, strides=1, padding="same")(x), half // 2, 1),
    ]
    return layers.Concatenate()(paths)


def build_network(classes: int) -> keras.Model:
    """Return the network: pixels in [-1, 1], outputs 'features' (pooled) and class probabilities."""
    inputs = keras.Input((SIZE, SIZE, 3), name="image")
    x = convolution(inputs, 16, 3, strides=2)
    x = convolution(x, 24)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = convolution(x, 48)
    for filters, pool in ((32, True), (48, False), (72, True), (96, False), (128, False)):
        x = inception(x, filters)
        if pool:
            x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    features = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dropout(0.3)(features)
    return keras.Model(inputs, [features, layers.Dense(classes, activation="softmax", name="classes")(x)])


def train(network: keras.Model, pixels: np.ndarray, labels: np.ndarray, epochs: int, batch: int = 32) -> None:
    """Fit with AdamW, warm-up and cosine decay, flips, shifts, zoom, contrast and brightness."""
    augment = keras.Sequential(
        [
            layers.RandomFlip("horizontal"),
            layers.RandomTranslation(0.08, 0.08, fill_mode="nearest"),
            layers.RandomZoom(0.15, fill_mode="nearest"),
            layers.RandomContrast(0.25, value_range=(-1, 1)),
            layers.RandomBrightness(0.15, value_range=(-1, 1)),
        ]
    )
    inputs = keras.Input((SIZE, SIZE, 3))
    trainer = keras.Model(inputs, network(augment(inputs))[1])
    steps = epochs * -(-len(pixels) // batch)
    rate = keras.optimizers.schedules.CosineDecay(
        1e-4, decay_steps=steps - steps // 15, warmup_target=3e-3, warmup_steps=steps // 15
    )
    trainer.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=0.02),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=["accuracy"],
    )
    targets = keras.utils.to_categorical(labels, network.outputs[1].shape[-1])
    trainer.fit(pixels.astype(np.float32) / 127.5 - 1, targets, batch_size=batch, epochs=epochs, verbose=2)


def neighbor_accuracy(reference, reference_labels, queries, query_labels, k: int = 10) -> float:
    """Accuracy of the majority label of the k nearest references by cosine distance."""
    reference, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (reference, queries))
    nearest = np.argsort(-queries @ reference.T, axis=1, kind="stable")[:, :k]
    votes = [np.bincount(reference_labels[row]).argmax() for row in nearest]
    return float(np.mean(votes == query_labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()

    keras.utils.set_random_seed(arguments.seed)
    pixels, labels, held_out, names = read_images(arguments.images)
    network = build_network(len(names))
    print(
        f"{network.count_params():,} parameters, {len(pixels)} images, {held_out.sum()} held out",
        flush=True,
    )
    train(network, pixels[~held_out], labels[~held_out], arguments.epochs)
    network.save(arguments.out.with_suffix(".keras"))

    features, classes = network.predict(pixels.astype(np.float32) / 127.5 - 1, batch_size=64, verbose=0)
    measured = {
        "accuracy": float(np.mean(classes[held_out].argmax(1) == labels[held_out])),
        "10-nn accuracy": neighbor_accuracy(
            features[~held_out], labels[~held_out], features[held_out], labels[held_out]
        ),
    }
    print(json.dumps(measured), flush=True)
    classifier = keras.Model(network.inputs, network.outputs[1])
    converted = convert(freeze_keras(classifier, "mini_inception"), Wishes(labels=names))
    append_head(converted)
    save(converted, arguments.out)


if __name__ == "__main__":
    main()

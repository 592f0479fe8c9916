"""From Keras to ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pixload.conversion import keras_models, saved_models
from pixload.conversion.converted import Wishes
from pixload.conversion.scaling import CAFFE
from pixload.conversion.tensorflow_graphs import convert
from pixload.errors import PixError
from tests.unit.graphs import LABELS, jpeg, keras_classifier, network_of


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("keras") / "colors.keras"
    keras_classifier().save(path)
    return path


class TestKeras:
    def test_file_with_classes(self, keras_file, tmp_path):
        import keras

        converted = convert(keras_models.load_file(keras_file), Wishes(labels=LABELS))
        assert converted.spec["preprocessing"]["mean"] == [0, 0, 0]  # the model scales by itself
        assert converted.spec["preprocessing"]["std"] == [1, 1, 1]
        network = network_of(converted, tmp_path)
        assert network.dimensions == 12
        image = jpeg(24, 24)
        pixels = network.tensor(image)
        expected = keras.saving.load_model(keras_file).predict(pixels, verbose=0)[0]
        np.testing.assert_allclose(converted.head.probabilities(network.embed(image)), expected, atol=1e-5)

    @pytest.mark.parametrize(("layer", "features"), [("early", 8), ("late", 12), ("pooled", 12)])
    def test_layer_by_its_keras_name(self, keras_file, tmp_path, layer, features):
        converted = convert(keras_models.load_file(keras_file, layer), Wishes(output=layer))
        assert network_of(converted, tmp_path).dimensions == features

    def test_saved_model_is_the_same_network(self, keras_file, tmp_path, capfd):
        import keras

        keras.saving.load_model(keras_file).export(tmp_path / "exported")
        capfd.readouterr()  # export lists every variable
        exported = convert(saved_models.load(tmp_path / "exported"), Wishes(labels=LABELS))
        original = convert(keras_models.load_file(keras_file), Wishes(labels=LABELS))
        assert exported.spec["preprocessing"] == original.spec["preprocessing"]
        np.testing.assert_allclose(exported.head.weights, original.head.weights, rtol=1e-4, atol=1e-5)
        image = jpeg(24, 24)
        (tmp_path / "a").mkdir()
        np.testing.assert_allclose(
            network_of(exported, tmp_path).embed(image),
            network_of(original, tmp_path / "a").embed(image),
            rtol=1e-4,
            atol=1e-6,
        )

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "features", "mean", "channels"),
        [
            pytest.param("inception_v3", 2048, [127.5] * 3, "RGB", marks=pytest.mark.exhaustive),
            ("mobilenet_v2", 1280, [127.5] * 3, "RGB"),
            pytest.param("resnet50", 2048, [103.939, 116.779, 123.68], "BGR", marks=pytest.mark.exhaustive),
            pytest.param("efficientnet_b0", 1280, [0.0] * 3, "RGB", marks=pytest.mark.exhaustive),
        ],
    )
    def test_applications_and_their_preprocessing(self, tmp_path, name, features, mean, channels):
        """The features are those of Keras, given what its own preprocess_input makes of the pixels."""
        import keras

        from pixelplum.core.networks.images import decode

        application = keras_models.APPLICATIONS[name]
        converted = convert(keras_models.load_application(name, None, seed=7), Wishes())
        preprocessing = converted.spec["preprocessing"]
        assert (preprocessing["mean"], preprocessing["channels"]) == (mean, channels)
        assert converted.agreement <= 1e-4
        keras.utils.set_random_seed(7)
        original = getattr(keras.applications, application.builder)(
            include_top=False, pooling="avg", weights=None, input_shape=(application.size, application.size, 3)
        )
        module = getattr(keras.applications, name.replace("_b0", "").replace("resnet50", "resnet"))
        image = jpeg(320, 320)
        pixels = decode(image, application.size, application.size).astype(np.float32)[np.newaxis]
        expected = original.predict(module.preprocess_input(pixels.copy()), verbose=0)[0]
        got = network_of(converted, tmp_path).embed(image)
        assert got.shape == (features,)
        np.testing.assert_allclose(got, expected, atol=1e-4 * np.abs(expected).max())

    def test_application_within_a_model_is_recognized(self, tmp_path):
        """A network that was built on MobileNet v2 without scaling of its own wants MobileNet's."""
        import keras

        image = keras.Input((32, 32, 3))
        base = keras.applications.MobileNetV2(
            include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg", alpha=0.35
        )
        model = keras.Model(image, keras.layers.Dense(3, activation="softmax")(base(image)))
        frozen = keras_models.freeze_keras(model, "test")
        assert frozen.scaling == ((127.5,) * 3, (127.5,) * 3)

    def test_other_networks_of_the_family_are_not_mistaken(self):
        """ResNet50 V2 wants other pixels than ResNet50."""
        import keras

        image = keras.Input((32, 32, 3))
        for name, scaling in (("resnet50", CAFFE), ("resnet50_1", CAFFE), ("resnet50v2", None)):
            inner = keras.Model(image, keras.layers.Conv2D(4, 3)(image), name=name)
            model = keras.Sequential([image, inner, keras.layers.GlobalAveragePooling2D()])
            assert keras_models.freeze_keras(model, "test").scaling == scaling

    def test_preprocessing_within_a_model_is_not_done_twice(self):
        """Colors that are turned around before the network: no longer is it certain what it wants."""
        import keras

        image = keras.Input((32, 32, 3))
        inner = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3)], name="resnet50")
        turned = image[..., ::-1] - np.float32([103.9, 116.8, 123.7])
        model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(inner(turned)))
        converted = convert(keras_models.freeze_keras(model, "test"), Wishes())
        preprocessing = converted.spec["preprocessing"]
        assert (preprocessing["mean"], preprocessing["std"], preprocessing["channels"]) == ([0] * 3, [1] * 3, "RGB")
        assert any("guess" in line for line in converted.proposals)

    def test_files_that_hold_code_are_refused(self, tmp_path):
        import keras

        image = keras.Input((8, 8, 3))
        model = keras.Model(image, keras.layers.Lambda(lambda x: x + 1)(image))
        model.save(tmp_path / "lambda.keras")
        with pytest.raises(PixError, match="not a Keras model") as caught:
            keras_models.load_file(tmp_path / "lambda.keras")
        assert "Lambda" in caught.value.hint

    def test_files_that_are_no_models(self, tmp_path):
        (tmp_path / "broken.keras").write_bytes(b"no model")
        with pytest.raises(PixError, match="not a Keras model"):
            keras_models.load_file(tmp_path / "broken.keras")
        (tmp_path / "folder").mkdir()
        with pytest.raises(PixError, match="not a SavedModel"):
            saved_models.load(tmp_path / "folder")

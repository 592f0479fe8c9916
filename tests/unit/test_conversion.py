"""From the formats that people have to ONNX: what is proposed, what is computed, what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from pixelplum.core.networks.onnx import Network
from pixload.conversion import frozen_graphs, keras_models, saved_models
from pixload.conversion.converted import ConvertedModel, Head, Wishes, measure_head, save
from pixload.conversion.onnx_files import append_head, read_onnx
from pixload.conversion.scaling import CAFFE, Affine, describe
from pixload.conversion.tensorflow_graphs import convert
from pixload.errors import PixError
from pixload.models import SHIPPED
from tests.unit.graphs import COLOURS, inception_2015, keras_classifier, run_graph, torch_like_onnx

LABELS = list(COLOURS)


@pytest.fixture(scope="module")
def graph_of_2015(tmp_path_factory) -> Path:
    return inception_2015(tmp_path_factory.mktemp("graphs") / "classify_image_graph_def.pb")


@pytest.fixture(scope="module")
def retrained_graph(tmp_path_factory) -> Path:
    return inception_2015(tmp_path_factory.mktemp("graphs") / "retrained_graph.pb", retrained=True)


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("keras") / "colors.keras"
    keras_classifier().save(path)
    return path


def network_of(converted: ConvertedModel, folder: Path) -> Network:
    save(converted, folder / "converted.onnx")
    return Network(folder / "converted.onnx")


def keras_headless():
    """Return a Keras model that ends with features."""
    import keras

    model = keras_classifier()
    return keras.Model(model.inputs, model.get_layer("pooled").output)


def jpeg(width: int = 48, height: int = 32, seed: int = 0) -> bytes:
    """An image of the size that the graph of 2015 takes: neither side scales it."""
    blobs = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    stream = io.BytesIO()
    image = Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC)
    image.save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


class TestFrozenGraphs:
    @pytest.mark.parametrize("values", [None, "DecodeJpeg/contents:0", "Mul:0", "Mul"])
    def test_graph_of_2015(self, graph_of_2015, tmp_path, values):
        """It is entered behind its decoder and its scaling, both of which are read off the graph."""
        converted = convert(frozen_graphs.read_graph(graph_of_2015), Wishes(input=values))
        preprocessing = converted.spec["preprocessing"]
        assert (preprocessing["width"], preprocessing["height"]) == (48, 32)
        assert preprocessing["mean"] == pytest.approx([128] * 3)
        assert preprocessing["std"] == pytest.approx([128] * 3)
        assert "output pool_3:0" in converted.proposals
        image = jpeg()
        expected, _ = run_graph(graph_of_2015, image, "pool_3:0", "softmax:0")
        got = network_of(converted, tmp_path).embed(image)
        assert got.shape == (6,)
        assert expected.std() > 0.05
        np.testing.assert_allclose(got, expected.reshape(-1), atol=1e-4)

    def test_retrained_graph_gives_features_and_classes(self, retrained_graph, tmp_path):
        converted = convert(frozen_graphs.read_graph(retrained_graph), Wishes(labels=LABELS))
        assert converted.head.labels == LABELS
        assert converted.head.weights.shape == (4, 6)
        image = jpeg()
        features, classes = run_graph(retrained_graph, image, "pool_3:0", "final_result:0")
        got = network_of(converted, tmp_path).embed(image)
        np.testing.assert_allclose(got, features.reshape(-1), atol=1e-4)
        np.testing.assert_allclose(converted.head.probabilities(got), classes[0], atol=1e-4)

    def test_the_first_softmax_of_a_retrained_graph_can_be_chosen(self, retrained_graph):
        converted = convert(frozen_graphs.read_graph(retrained_graph), Wishes(classes="softmax:0", labels=LABELS))
        other = convert(frozen_graphs.read_graph(retrained_graph), Wishes(classes="final_result", labels=LABELS))
        assert not np.allclose(converted.head.weights, other.head.weights)

    def test_classes_without_names_are_told(self, retrained_graph):
        converted = convert(frozen_graphs.read_graph(retrained_graph), Wishes())
        assert converted.head is None
        assert any("final_result:0" in line and "--labels" in line for line in converted.proposals)

    def test_wrong_number_of_labels(self, retrained_graph):
        with pytest.raises(PixError, match="3 labels for 4 classes"):
            convert(frozen_graphs.read_graph(retrained_graph), Wishes(labels=LABELS[:3]))

    def test_earlier_layer_is_averaged(self, graph_of_2015, tmp_path):
        """The mean of each map of `conv` is what pool_3 computes."""
        early = convert(frozen_graphs.read_graph(graph_of_2015), Wishes(output="conv"))
        last = convert(frozen_graphs.read_graph(graph_of_2015), Wishes())
        image = jpeg()
        (tmp_path / "last").mkdir()
        np.testing.assert_allclose(
            network_of(early, tmp_path).embed(image), network_of(last, tmp_path / "last").embed(image), atol=1e-5
        )

    def test_classes_do_not_follow_from_an_early_layer(self, graph_of_2015):
        with pytest.raises(PixError, match="not one softmax layer"):
            convert(frozen_graphs.read_graph(graph_of_2015), Wishes(output="conv/CheckNumerics:0", labels=LABELS))

    def test_layer_of_the_converted_graph(self, graph_of_2015, tmp_path):
        """Names that only the ONNX graph has, as pix model layers lists them, can be given too."""
        whole = convert(frozen_graphs.read_graph(graph_of_2015), Wishes())
        names = {name for node in whole.onnx.graph.node for name in node.output if node.op_type == "Relu"}
        (name,) = names - {"conv:0"} or names
        converted = convert(frozen_graphs.read_graph(graph_of_2015), Wishes(output=name))
        assert network_of(converted, tmp_path).embed(jpeg()).shape == (6,)

    @pytest.mark.parametrize(
        ("wishes", "message"),
        [
            (Wishes(input="nope:0"), "no tensor nope:0"),
            (Wishes(output="nope:0"), "no tensor nope:0"),
            (Wishes(classes="nope:0", labels=LABELS), "no tensor nope:0"),
            (Wishes(classes="conv:0", labels=LABELS), "softmax"),
            (Wishes(input="conv/kernel:0"), "shape"),
            (Wishes(size=64), "48 x 32"),
        ],
    )
    def test_what_the_graph_does_not_have(self, graph_of_2015, wishes, message):
        with pytest.raises(PixError, match=message) as caught:
            convert(frozen_graphs.read_graph(graph_of_2015), wishes)
        assert caught.value.hint

    def test_scaling_that_is_given_wins(self, graph_of_2015):
        converted = convert(frozen_graphs.read_graph(graph_of_2015), Wishes(mean=(1, 2, 3), std=(4, 5, 6)))
        assert converted.spec["preprocessing"]["mean"] == [1, 2, 3]
        assert converted.spec["preprocessing"]["std"] == [4, 5, 6]

    def test_real_retrained_graph(self, data, tmp_path):
        folder = data / "models" / "mobilenet_v1_0.25_128"
        labels = (folder / "retrained_labels.txt").read_text().splitlines()
        converted = convert(frozen_graphs.read_graph(folder / "retrained_graph.pb"), Wishes(labels=labels))
        assert converted.agreement <= 1e-4
        assert network_of(converted, tmp_path).dimensions == 256
        assert converted.head.weights.shape == (6, 256)
        assert converted.head.labels[0].startswith("61326 ")  # the number belongs to the label

    def test_real_imagenet_classes(self, data):
        folder = data / "models" / "mobilenet_v1_0.25_128"
        labels = (folder / "labels.txt").read_text().splitlines()
        converted = convert(frozen_graphs.read_graph(folder / "frozen_graph.pb"), Wishes(labels=labels))
        assert converted.head.weights.shape == (1001, 256)
        assert converted.agreement <= 1e-4

    def test_graph_of_variables_or_further_inputs(self, tmp_path):
        import tensorflow as tf

        graph = tf.Graph()
        with graph.as_default():
            image = tf.compat.v1.placeholder(tf.float32, (None, 8, 8, 3), "image")
            keep = tf.compat.v1.placeholder(tf.float32, (), "keep")
            tf.multiply(tf.reduce_mean(image, [1, 2]), keep, name="scaled")
            weight = tf.compat.v1.get_variable("weight", (3,), use_resource=False)
            tf.multiply(tf.reduce_mean(image, [1, 2]), weight, name="weighed")
        (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
        for output, message in (("scaled", "further inputs: keep"), ("weighed", "variables, such as weight")):
            with pytest.raises(PixError, match=message):
                convert(frozen_graphs.read_graph(tmp_path / "graph.pb"), Wishes(output=output))

    def test_labels_for_what_has_no_classes(self, graph_of_2015, data):
        with pytest.raises(PixError, match="softmax over features"):
            convert(keras_models.freeze_keras(keras_headless(), "test"), Wishes(labels=LABELS))
        with pytest.raises(PixError, match="not one softmax layer"):
            convert(frozen_graphs.read_graph(graph_of_2015), Wishes(output="softmax", labels=LABELS))


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
            ("inception_v3", 2048, [127.5] * 3, "RGB"),
            ("mobilenet_v2", 1280, [127.5] * 3, "RGB"),
            ("resnet50", 2048, [103.939, 116.779, 123.68], "BGR"),
            ("efficientnet_b0", 1280, [0.0] * 3, "RGB"),
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


class TestOnnx:
    def test_classifier_of_pytorch(self, tmp_path):
        """Layout, scaling and the layer before the classes are found."""
        import onnxruntime

        path = torch_like_onnx(tmp_path / "torch.onnx")
        converted = read_onnx(path, Wishes(labels=LABELS))
        preprocessing = converted.spec["preprocessing"]
        assert preprocessing["layout"] == "NCHW"
        assert preprocessing["mean"] == pytest.approx([123.675, 116.28, 103.53])
        network = network_of(converted, tmp_path)
        assert network.dimensions == 10
        image = jpeg(20, 20)
        (logits,) = onnxruntime.InferenceSession(path).run(None, {"input": network.tensor(image)})
        expected = np.exp(logits[0]) / np.exp(logits[0]).sum()
        np.testing.assert_allclose(converted.head.probabilities(network.embed(image)), expected, atol=1e-5)

    def test_softmax_tells_a_classifier(self, tmp_path):
        converted = read_onnx(torch_like_onnx(tmp_path / "torch.onnx", softmax=True))
        assert network_of(converted, tmp_path).dimensions == 10
        assert any("--labels" in line for line in converted.proposals)

    def test_without_softmax_and_labels_the_result_is_the_features(self, tmp_path):
        converted = read_onnx(torch_like_onnx(tmp_path / "torch.onnx"))
        assert network_of(converted, tmp_path).dimensions == 4

    @pytest.mark.parametrize(("layer", "features"), [("relu", 10), ("flat", 10), ("logits", 4)])
    def test_any_layer(self, tmp_path, layer, features):
        converted = read_onnx(torch_like_onnx(tmp_path / "torch.onnx"), Wishes(output=layer))
        assert network_of(converted, tmp_path).dimensions == features

    def test_maps_are_averaged(self, tmp_path):
        early = read_onnx(torch_like_onnx(tmp_path / "torch.onnx"), Wishes(output="relu"))
        pooled = read_onnx(torch_like_onnx(tmp_path / "torch.onnx"), Wishes(output="pool"))
        (tmp_path / "a").mkdir()
        np.testing.assert_allclose(
            network_of(early, tmp_path).embed(jpeg()), network_of(pooled, tmp_path / "a").embed(jpeg()), rtol=1e-5
        )

    def test_size_that_the_file_does_not_say(self, tmp_path):
        path = torch_like_onnx(tmp_path / "torch.onnx", side="side")
        with pytest.raises(PixError, match="height and width") as caught:
            read_onnx(path)
        assert "--size" in caught.value.hint
        assert read_onnx(path, Wishes(size=28)).spec["preprocessing"]["width"] == 28

    def test_weights_in_a_file_beside_are_taken_in(self, tmp_path):
        plain = torch_like_onnx(tmp_path / "plain.onnx")
        onnx.save(
            onnx.load(plain), tmp_path / "split.onnx", save_as_external_data=True, location="split.data",
            size_threshold=0,
        )  # fmt: skip
        assert (tmp_path / "split.data").exists()
        split = read_onnx(tmp_path / "split.onnx")
        (tmp_path / "moved").mkdir()
        np.testing.assert_array_equal(
            network_of(split, tmp_path / "moved").embed(jpeg()), network_of(read_onnx(plain), tmp_path).embed(jpeg())
        )
        (tmp_path / "split.data").unlink()
        with pytest.raises(PixError, match="not an ONNX file"):
            read_onnx(tmp_path / "split.onnx")

    @pytest.mark.parametrize(
        ("wishes", "message"),
        [
            (Wishes(input="nope"), "input nope"),
            (Wishes(output="nope"), "no tensor nope"),
            (Wishes(classes="nope", labels=LABELS), "no tensor nope"),
            (Wishes(labels=["one"]), "1 labels for 4 classes"),
        ],
    )
    def test_what_the_file_does_not_have(self, tmp_path, wishes, message):
        with pytest.raises(PixError, match=message) as caught:
            read_onnx(torch_like_onnx(tmp_path / "torch.onnx"), wishes)
        assert caught.value.hint

    def test_layer_with_channels_behind(self, tmp_path):
        """A layer that works on transposed maps is averaged over width and height all the same."""
        path = torch_like_onnx(tmp_path / "torch.onnx")
        model = onnx.load(path)
        model.graph.node.extend(
            [
                onnx.helper.make_node("Transpose", ["conv"], ["turned"], perm=[0, 2, 3, 1]),
                onnx.helper.make_node("Relu", ["turned"], ["behind"]),
            ]
        )
        onnx.save(model, path)
        (tmp_path / "a").mkdir()
        behind = network_of(read_onnx(path, Wishes(output="behind")), tmp_path)
        before = network_of(read_onnx(path, Wishes(output="relu")), tmp_path / "a")
        np.testing.assert_allclose(behind.embed(jpeg()), before.embed(jpeg()), rtol=1e-5)

    def test_classes_by_a_convolution(self, tmp_path):
        """As MobileNets have them: pooling, a convolution of 1 x 1, flatten, softmax."""
        path = torch_like_onnx(tmp_path / "torch.onnx", softmax=True)
        model = onnx.load(path)
        nodes = {node.output[0]: node for node in model.graph.node}
        weight = next(tensor for tensor in model.graph.initializer if tensor.name == "fc.weight")
        weight.dims[:] = [4, 10, 1, 1]
        nodes["logits"].CopyFrom(onnx.helper.make_node("Flatten", ["scores"], ["logits"]))
        nodes["flat"].CopyFrom(onnx.helper.make_node("Conv", ["pool", "fc.weight", "fc.bias"], ["scores"]))
        onnx.save(model, path)
        converted = read_onnx(path, Wishes(labels=LABELS))
        assert network_of(converted, tmp_path).dimensions == 10
        assert converted.head.weights.shape == (4, 10)

    @pytest.mark.parametrize(
        "text", ["garbage", "[1]", "{}", '{"input": "input", "output": "nope", "preprocessing": {"width": 4}}']
    )
    def test_spec_that_cannot_be_used(self, tmp_path, text):
        path = torch_like_onnx(tmp_path / "torch.onnx")
        model = onnx.load(path)
        onnx.helper.set_model_props(model, {"pixelplum": text})
        onnx.save(model, path)
        with pytest.raises(PixError, match="spec"):
            read_onnx(path)

    def test_inputs_that_are_no_float_images(self, tmp_path):
        path = torch_like_onnx(tmp_path / "torch.onnx")
        for change, message in (("uint8", "type UINT8"), ("second", "further inputs: other")):
            model = onnx.load(path)
            if change == "uint8":
                model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
                model.graph.node.insert(0, onnx.helper.make_node("Cast", ["input"], ["cast"], to=1))
                model.graph.node[1].input[0] = "cast"
            else:
                model.graph.input.append(onnx.helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, [1]))
            onnx.save(model, tmp_path / "changed.onnx")
            with pytest.raises(PixError, match=message):
                read_onnx(tmp_path / "changed.onnx", Wishes(input="input"))

    def test_options_that_do_not_fit(self, tmp_path):
        path = torch_like_onnx(tmp_path / "torch.onnx")
        with pytest.raises(PixError, match="20 x 20 pixels"):
            read_onnx(path, Wishes(size=32))
        with pytest.raises(PixError, match="softmax over a linear layer"):
            read_onnx(path, Wishes(output="relu", classes="pool", labels=LABELS))
        with pytest.raises(PixError, match="nope") as caught:
            read_onnx(path, Wishes(classes="nope"))
        assert "--classes" in caught.value.hint

    def test_file_carries_its_classes(self, tmp_path):
        converted = read_onnx(torch_like_onnx(tmp_path / "torch.onnx"), Wishes(labels=LABELS))
        append_head(converted)
        save(converted, tmp_path / "carrying.onnx")
        again = read_onnx(tmp_path / "carrying.onnx")
        assert again.head.labels == LABELS
        np.testing.assert_allclose(again.head.weights, converted.head.weights, atol=1e-5)
        assert Network(tmp_path / "carrying.onnx").dimensions == 10

    def test_shipped_network_brings_its_classes(self):
        head = read_onnx(SHIPPED["mini_inception"]).head
        assert len(head.labels) == 10
        assert "shoes" in head.labels


class TestHead:
    def test_layer_that_is_not_affine(self):
        with pytest.raises(PixError, match="not one softmax layer"):
            measure_head(lambda x: np.array([(x**2).sum(), x.sum()]), 3, ["a", "b"])

    def test_affine_layer_is_found(self):
        weights, intercepts = np.array([[1.0, 2, 3], [4, 5, 6]]), np.array([0.5, -1])
        head = measure_head(lambda x: weights @ x + intercepts, 3, ["a", "b"])
        np.testing.assert_allclose(head.weights, weights, rtol=1e-6)
        np.testing.assert_allclose(head.intercepts, intercepts)

    def test_probabilities(self):
        head = Head(["a", "b"], np.float32([[0], [1]]), np.float32([0, 0]))
        np.testing.assert_allclose(head.probabilities(np.array([np.log(3)])), [0.25, 0.75], rtol=1e-6)


@pytest.mark.parametrize(
    ("steps", "mean", "std"),
    [
        ([("multiply", 1 / 255)], 0, 1),  # from 0…255 to [0, 1]
        ([("multiply", 1 / 127.5), ("add", -1)], 0, 1),
        ([("multiply", 2), ("add", -1)], 0, 255),  # it wants [0, 1]
        ([("add", -np.array([103.9, 116.8, 123.7]))], 0, 1),
    ],
)
def test_scaling_that_a_graph_does_tells_what_it_wants(steps, mean, std):
    chain = Affine()
    for step, number in steps:
        getattr(chain, step)(number)
    assert chain.expected_input() == ((mean,) * 3, (std,) * 3)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((127.5,) * 3, (127.5,) * 3, "(x - 127.5) / 127.5"),
        ((1, 1, 2), (3, 4, 4), "(x - 1,1,2) / 3,4,4"),
        ((0.0,) * 3, (1.0,) * 3, "as they are, 0 to 255"),
    ],
)
def test_scaling_in_words(mean, std, message):
    assert describe(mean, std) == message


def test_chain_without_arithmetic_tells_nothing():
    assert Affine().expected_input() is None

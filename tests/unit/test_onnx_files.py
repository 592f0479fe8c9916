"""ONNX files of others."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from pixelplum.core.networks.onnx import Network
from pixload.conversion.converted import Wishes, save
from pixload.conversion.onnx_files import append_head, read_onnx
from pixload.errors import PixError
from pixload.models import SHIPPED
from tests.unit.graphs import LABELS, jpeg, network_of, torch_like_onnx


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

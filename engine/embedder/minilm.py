"""MiniLM as an ONNX graph: the published weights in, an int8 model file out.

The graph is what the authors published (a BERT encoder of six post-normalized layers) with two changes that alter no
result: query, key and value are one multiplication, and the attention's scale is folded into the query's weights. It ends
at the last layer's output; pooling and normalizing are left to whoever runs it. Knows nothing of where files belong.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LAYERS = 6
HEADS = 12
WIDTH = 384
POSITIONS = 512
_HEAD_WIDTH = WIDTH // HEADS
_NORM_EPSILON = 1e-12

_OPSET = 20
"""The first opset with ``Gelu`` as one node."""

_IR_VERSION = 10
"""Stated, because onnx writes its newest, which onnxruntime refuses until it catches up."""

_MASKED = -1e4
"""Added to the score of padding before the softmax; its exponential is zero in float32."""


class _Graph:
    """Collects nodes and weights; each node's output is named after the node."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, name: str, array: Any) -> str:
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, operation: str, name: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operation, list(inputs), [name], name=name, **attributes))
        return name

    def split(self, inner: str, names: list[str]) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node("Split", [inner], names, name=f"{inner}.split", axis=-1, num_outputs=len(names)))


def build(weights: Path) -> Any:
    """Return the float32 ``onnx.ModelProto`` of the safetensors file ``weights``."""
    import numpy as np
    from onnx import TensorProto, helper
    from safetensors.numpy import load_file

    tensors = load_file(weights)
    graph = _Graph()
    hidden = _embeddings(graph, tensors)

    # [batch, tokens] of 1 and 0 becomes [batch, 1, 1, tokens] of 0 and a large negative number.
    axes = graph.weight("mask.axes", np.array([1, 2], dtype=np.int64))
    mask = graph.node("Cast", "mask.float", "attention_mask", to=TensorProto.FLOAT)
    one = graph.weight("mask.one", np.array(1, dtype=np.float32))
    mask = graph.node("Sub", "mask.inverse", one, mask)
    mask = graph.node("Mul", "mask.scaled", mask, graph.weight("mask.masked", np.array(_MASKED, dtype=np.float32)))
    mask = graph.node("Unsqueeze", "mask", mask, axes)

    graph.weight("heads.split", np.array([0, 0, HEADS, _HEAD_WIDTH], dtype=np.int64))
    graph.weight("heads.join", np.array([0, 0, WIDTH], dtype=np.int64))
    for layer in range(LAYERS):
        hidden = _layer(graph, tensors, f"encoder.layer.{layer}", hidden, mask)
    graph.node("Identity", "last_hidden_state", hidden)

    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", WIDTH])
    return helper.make_model(
        helper.make_graph(graph.nodes, "MiniLM", inputs, [output], graph.weights),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )


def quantize(model: Any, path: Path) -> None:
    """Write ``model`` to ``path`` with int8 weights, one scale per output channel; activations are quantized as they come."""
    with _quiet():
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(model, path, weight_type=QuantType.QInt8, per_channel=True)


def _embeddings(graph: _Graph, tensors: dict[str, Any]) -> str:
    import numpy as np

    words = graph.weight("embeddings.words.weight", tensors["embeddings.word_embeddings.weight"])
    types = graph.weight("embeddings.types.weight", tensors["embeddings.token_type_embeddings.weight"])
    positions = graph.weight("embeddings.positions.weight", tensors["embeddings.position_embeddings.weight"])
    # The positions are 0, 1, 2 … as many as there are tokens.
    indices = graph.weight("positions.all", np.arange(POSITIONS, dtype=np.int64))
    shape = graph.node("Shape", "tokens.count", "input_ids", start=1, end=2)
    zero = graph.weight("positions.first", np.array([0], dtype=np.int64))
    indices = graph.node("Slice", "positions", indices, zero, shape)

    total = graph.node("Add", "embeddings.sum", *_gathered(graph, (words, "input_ids"), (types, "token_type_ids")))
    total = graph.node("Add", "embeddings.total", total, *_gathered(graph, (positions, indices)))
    return _normalized(graph, tensors, "embeddings.LayerNorm", total)


def _gathered(graph: _Graph, *tables: tuple[str, str]) -> list[str]:
    return [graph.node("Gather", f"{table}.gathered", table, indices) for table, indices in tables]


def _layer(graph: _Graph, tensors: dict[str, Any], name: str, hidden: str, mask: str) -> str:
    import numpy as np

    parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
    scales = [1 / math.sqrt(_HEAD_WIDTH), 1.0, 1.0]
    weight = np.concatenate([tensors[f"{part}.weight"].T * scale for part, scale in zip(parts, scales, strict=True)], axis=1)
    bias = np.concatenate([tensors[f"{part}.bias"] * scale for part, scale in zip(parts, scales, strict=True)])
    joined = _dense(graph, f"{name}.attention.self", hidden, weight.astype(np.float32), bias.astype(np.float32))
    graph.split(joined, parts)
    query, key, value = (graph.node("Reshape", f"{part}.heads", part, "heads.split") for part in parts)
    query = graph.node("Transpose", f"{query}.turned", query, perm=[0, 2, 1, 3])
    key = graph.node("Transpose", f"{key}.turned", key, perm=[0, 2, 3, 1])
    value = graph.node("Transpose", f"{value}.turned", value, perm=[0, 2, 1, 3])
    scores = graph.node("MatMul", f"{name}.scores", query, key)
    scores = graph.node("Add", f"{name}.scores.masked", scores, mask)
    scores = graph.node("Softmax", f"{name}.attention", scores, axis=-1)
    mixed = graph.node("MatMul", f"{name}.mixed", scores, value)
    mixed = graph.node("Transpose", f"{name}.mixed.turned", mixed, perm=[0, 2, 1, 3])
    mixed = graph.node("Reshape", f"{name}.mixed.joined", mixed, "heads.join")
    attended = _output(graph, tensors, f"{name}.attention.output", mixed, hidden)

    wide = _published(graph, tensors, f"{name}.intermediate.dense", attended)
    wide = graph.node("Gelu", f"{name}.gelu", wide)
    return _output(graph, tensors, f"{name}.output", wide, attended)


def _output(graph: _Graph, tensors: dict[str, Any], name: str, inner: str, residual: str) -> str:
    total = graph.node("Add", f"{name}.residual", _published(graph, tensors, f"{name}.dense", inner), residual)
    return _normalized(graph, tensors, f"{name}.LayerNorm", total)


def _published(graph: _Graph, tensors: dict[str, Any], name: str, inner: str) -> str:
    import numpy as np

    return _dense(graph, name, inner, np.ascontiguousarray(tensors[f"{name}.weight"].T), tensors[f"{name}.bias"])


def _dense(graph: _Graph, name: str, inner: str, weight: Any, bias: Any) -> str:
    product = graph.node("MatMul", f"{name}.product", inner, graph.weight(f"{name}.weight", weight))
    return graph.node("Add", f"{name}.sum", product, graph.weight(f"{name}.bias", bias))


def _normalized(graph: _Graph, tensors: dict[str, Any], name: str, inner: str) -> str:
    scale = graph.weight(f"{name}.weight", tensors[f"{name}.weight"])
    bias = graph.weight(f"{name}.bias", tensors[f"{name}.bias"])
    return graph.node("LayerNormalization", f"{name}.normalized", inner, scale, bias, axis=-1, epsilon=_NORM_EPSILON)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the quantizer's advice to simplify the graph first, which this graph is past."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)

"""This module checks what a Keras model's description names before Keras builds the model.

A description is a stranger's. It may hold Python's bytecode in a Lambda, or name a function that writes files.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any

from tledge.importing.foreign import Refused

EXPORT_ONNX = 'export it to ONNX where its code is, such as by Keras 3\'s model.export("model.onnx", format="onnx")'


def _names(*lines: str) -> frozenset[str]:
    return frozenset(name for line in lines for name in line.split())


_MODELS = _names("Functional Sequential Model InputLayer")
_LAYERS = _names(
    "Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average",
    "AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization CenterCrop Concatenate Conv1D Conv1DTranspose",
    "Conv2D Conv2DTranspose Conv3D Conv3DTranspose Cropping1D Cropping2D Cropping3D CutMix Dense DepthwiseConv1D",
    "DepthwiseConv2D Dot Dropout ELU EinsumDense Embedding Equalization Flatten GaussianDropout GaussianNoise",
    "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D",
    "GlobalMaxPooling3D GroupNormalization GroupQueryAttention Identity LayerNormalization LeakyReLU Masking MaxNumBoundingBoxes",
    "MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MixUp MultiHeadAttention Multiply Normalization PReLU Permute",
    "RMSNormalization RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop",
    "RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHeight RandomHue RandomInvert",
    "RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation",
    "RandomWidth RandomZoom ReLU RepeatVector Rescaling Reshape Resizing SeparableConv1D SeparableConv2D Softmax Solarization",
    "SpatialDropout1D SpatialDropout2D SpatialDropout3D Subtract SyncBatchNormalization ThresholdedReLU UnitNormalization",
    "UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D",
    "LSTM GRU SimpleRNN Bidirectional TimeDistributed",
)
_OTHERS = _names(
    # initializers, regularizers, constraints, policies of number types
    "Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones Orthogonal RandomNormal",
    "RandomUniform TruncatedNormal VarianceScaling Zeros L1 L2 L1L2 OrthogonalRegularizer MaxNorm MinMaxNorm NonNeg UnitNorm",
    "DTypePolicy FloatDTypePolicy Policy PolicyV1 SeedGenerator",
    # losses, metrics and optimizers, which a nested model may be compiled with
    "BinaryCrossentropy BinaryFocalCrossentropy CategoricalCrossentropy CategoricalFocalCrossentropy CategoricalHinge Hinge Huber",
    "CosineSimilarity KLDivergence LogCosh MeanAbsoluteError MeanSquaredError Poisson SparseCategoricalCrossentropy SquaredHinge",
    "AUC Accuracy BinaryAccuracy CategoricalAccuracy F1Score FBetaScore FalseNegatives FalsePositives Mean MeanMetricWrapper",
    "Precision Recall SparseCategoricalAccuracy SparseTopKCategoricalAccuracy Sum TopKCategoricalAccuracy",
    "TrueNegatives TruePositives",
    "Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lion Nadam RMSprop SGD LossScaleOptimizer",
    "CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay PolynomialDecay",
    # how Keras writes values that JSON lacks
    "__keras_tensor__ __tuple__ __slice__ __ellipsis__ __numpy__ __tensor__ TensorShape TypeSpec InputSpec",
)
_PLAIN = _MODELS | _LAYERS | _OTHERS
_TEXT = _names("TextVectorization StringLookup IntegerLookup Hashing HashedCrossing CategoryEncoding Discretization")
# Functions of TensorFlow that tf_keras wraps into layers. It looks them up by name among all that TensorFlow has.
_FUNCTIONS = _names(
    "math.add math.subtract math.multiply math.truediv math.divide math.negative math.reduce_mean math.sigmoid math.tanh",
    "math.maximum math.minimum math.square math.sqrt math.rsqrt math.pow math.exp math.abs math.l2_normalize math.reduce_max",
    "__operators__.add __operators__.getitem __operators__.ragged_getitem nn.bias_add nn.relu nn.relu6 nn.sigmoid nn.silu nn.swish",
    "nn.softmax nn.tanh nn.gelu nn.elu nn.leaky_relu nn.softplus nn.max_pool nn.avg_pool nn.l2_normalize",
    "reshape transpose concat pad",
    "cast clip_by_value expand_dims squeeze stack split tile shape compat.v1.shape compat.v1.transpose image.resize stop_gradient",
    "convert_to_tensor identity reduce_mean reduce_max compat.v1.nn.softmax nn.depth_to_space nn.space_to_depth",
)
_WRAPPERS = _names("TFOpLambda SlicingOpLambda")
_MOST_DEPTH = 200


def require_plain(description: Any, what: str) -> None:
    """Raise Refused where a model's description, as JSON values, names more than Keras' own harmless classes.

    ``what`` is the subject of the error's sentence. The description of the training of the whole model is left out: models are
    opened without it.
    """
    if isinstance(description, dict):
        description = {
            key: value for key, value in description.items() if key not in ("compile_config", "training_config")
        }
    for one in _objects(description, 0, what):
        _require_plain_object(one, what)


def _objects(value: Any, depth: int, what: str) -> Iterator[dict[str, Any]]:
    if depth > _MOST_DEPTH:
        raise Refused(f"{what} is refused: its description is nested more deeply than any model's")
    if isinstance(value, dict):
        if "class_name" in value or "spec_name" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _objects(one, depth + 1, what)


def _is_plain(one: dict[str, Any]) -> bool:
    class_name, config, module = one.get("class_name"), one.get("config"), one.get("module")
    if (
        class_name == "function"
    ):  # an activation of Keras, by its name. Keras would look among Python's own functions, too.
        return module == "builtins" and isinstance(config, str) and not hasattr(builtins, config)
    if one.get("registered_name") not in (None, class_name):  # Keras looks for that name first
        return False
    if str(module).startswith(("keras.src.ops.", "keras.ops.")) or module == "keras.ops":
        return True
    return class_name in _PLAIN and (module is None or str(module).split(".")[0] in ("keras", "tf_keras", "builtins"))


def _require_plain_object(one: dict[str, Any], what: str) -> None:
    class_name, config = one.get("class_name"), one.get("config")
    named = config.get("name") if isinstance(config, dict) else None
    layer = f"{named} ({class_name})" if isinstance(named, str) else str(class_name)
    if class_name in ("Lambda", "__lambda__"):
        raise Refused(
            f"{what} is refused: its layer {layer[:100]} holds Python code, which tledge doesn't run. Replace it by Keras' own "
            f"layers, or {EXPORT_ONNX}"
        )
    if class_name in _TEXT:
        raise Refused(f"{what} reads text or table values ({layer[:100]}), no photo. tledge takes image classifiers")
    if class_name in _WRAPPERS:
        function = config.get("function") if isinstance(config, dict) else None
        if function not in _FUNCTIONS:
            raise Refused(
                f"{what} is refused: its layer {layer[:100]} calls tf.{str(function)[:60]}, which tledge doesn't know. Replace "
                f"it by Keras' own layers, or {EXPORT_ONNX}"
            )
        return
    if _is_plain(one):
        return
    raise Refused(
        f"{what} is refused: {layer[:100]} is no class of Keras, but its author's own code. Replace it by Keras' own layers, or "
        f"{EXPORT_ONNX}"
    )

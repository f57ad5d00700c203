"""What one client answers: ``python answer.py JOB.json`` in the client's own environment, which has no tledge.

The job names the client, an artifact, and an .npy file of photos, uint8 RGB (N, S, S, 3). The answers go to another .npy
file, float64 (N, C), and one JSON object to standard output: the shape that the client gave for one photo, and the names
of the classes where the client itself can tell them. An artifact is read as the client's documentation says; nothing is
mended. A client that refuses it ends with its error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Photo = Any  # uint8 (S, S, 3)
Answer = tuple[
    Any, list[str] | None
]  # the client's output as it is; class names in its order, None where it knows none
Load = Callable[[str, dict[str, Any]], Callable[[Photo], Answer]]


def openvino(artifact: str, options: dict[str, Any]) -> Callable[[Photo], Answer]:
    """``precision``: of inference; without it OpenVINO takes what is fastest on this CPU, which may be bfloat16."""
    from openvino import Core

    config = {"INFERENCE_PRECISION_HINT": options["precision"]} if "precision" in options else {}
    model = Core().compile_model(artifact, "CPU", config)

    def answer(photo: Photo) -> Answer:
        (output,) = model(photo[None]).values()
        return _probabilities(output), None

    return answer


def opencv(artifact: str, options: dict[str, Any]) -> Callable[[Photo], Answer]:
    """ONNX takes the photo as it is; of a TFLite file OpenCV makes a network that takes float NCHW."""
    import cv2

    network = cv2.dnn.readNet(artifact)

    def answer(photo: Photo) -> Answer:
        network.setInput(cv2.dnn.blobFromImage(photo) if artifact.endswith(".tflite") else photo[None])
        return network.forward(), None

    return answer


def mediapipe(artifact: str, options: dict[str, Any]) -> Callable[[Photo], Answer]:
    """Every class with its score, most probable first, and with its name where the file's metadata tell it."""
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    wanted = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=artifact), max_results=-1)
    classifier = vision.ImageClassifier.create_from_options(wanted)

    def answer(photo: Photo) -> Answer:
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(photo))
        (head,) = classifier.classify(image).classifications
        ordered = sorted(head.categories, key=lambda category: category.index)
        names = [category.category_name for category in ordered]
        return np.array([[category.score for category in ordered]]), names if all(names) else None

    return answer


def _tflite(interpreter: Any) -> Callable[[Photo], Answer]:
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()

    def answer(photo: Photo) -> Answer:
        interpreter.set_tensor(taken["index"], photo[None])
        interpreter.invoke()
        output = interpreter.get_tensor(given["index"])
        scale, zero_point = given["quantization"]
        return (scale * (output.astype(np.float64) - zero_point) if scale else output), None

    return answer


def litert(artifact: str, options: dict[str, Any]) -> Callable[[Photo], Answer]:
    """``kernels``: ``reference`` for those that are plain; without it those that apps get, XNNPACK's."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN_REF if options.get("kernels") == "reference" else OpResolverType.AUTO
    return _tflite(Interpreter(artifact, num_threads=1, experimental_op_resolver_type=kernels))


def tflite_runtime(artifact: str, options: dict[str, Any]) -> Callable[[Photo], Answer]:
    """The package that LiteRT's replaced, as tutorials for the Raspberry Pi install it."""
    from tflite_runtime.interpreter import Interpreter

    return _tflite(Interpreter(artifact, num_threads=1))


def onnxruntime(artifact: str, options: dict[str, Any]) -> Callable[[Photo], Answer]:
    """The labels stand in tledge's entry of the model's metadata, which the API reads."""
    from onnxruntime import InferenceSession

    session = InferenceSession(artifact, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    told = session.get_modelmeta().custom_metadata_map.get("tledge")
    names = json.loads(told)["labels"] if told else None

    def answer(photo: Photo) -> Answer:
        (output,) = session.run(None, {taken.name: photo[None]})
        return output, names

    return answer


def _probabilities(output: Any) -> Any:
    """Bytes, which an all-integer file gives, as 256ths."""
    return output / 256 if output.dtype == np.uint8 else output


LOAD: dict[str, Load] = {
    "litert": litert,
    "mediapipe": mediapipe,
    "onnxruntime": onnxruntime,
    "opencv": opencv,
    "openvino": openvino,
    "tflite-runtime": tflite_runtime,
}


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    answer = LOAD[job["client"]](job["artifact"], job["options"])
    answers, shapes, names = [], set(), None
    for photo in np.load(job["photos"]):
        output, names = answer(photo)
        output = np.asarray(output)
        shapes.add(output.shape)
        answers.append(output[0].reshape(-1))  # of a batch of one
    np.save(job["answers"], np.array(answers, np.float64))
    (shape,) = shapes
    print(json.dumps({"shape": shape, "labels": names}))


if __name__ == "__main__":
    main()

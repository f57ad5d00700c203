"""Answer photos as a device does: with LiteRT, NumPy and Pillow, and nothing of tledge or TensorFlow."""

import json
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
from sklearn.datasets import load_digits

model = Path("artifacts/example/exports/tflite-int8/model.tflite")
labels = json.loads(Path("artifacts/example/manifest.json").read_text())["labels"]

interpreter = Interpreter(model_path=str(model), num_threads=1)
interpreter.allocate_tensors()
(given,) = interpreter.get_input_details()
(returned,) = interpreter.get_output_details()
size = int(given["shape"][1])
scale, zero_point = returned["quantization"]

digits = load_digits()
for number in range(5):
    grey = np.rint(digits.images[number] * (255 / 16)).astype(np.uint8)
    photo = Image.fromarray(grey).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    interpreter.set_tensor(given["index"], np.asarray(photo)[None])  # raw uint8 pixels: (1, S, S, 3)
    interpreter.invoke()
    quantized = interpreter.get_tensor(returned["index"])[0]
    probabilities = scale * (quantized.astype(np.int32) - zero_point)
    best = int(np.argmax(probabilities))
    print(f"digit {digits.target[number]}: answered {labels[best]} with {probabilities[best]:.1%}")

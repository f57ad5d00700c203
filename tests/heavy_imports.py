"""The libraries whose import takes so long that a module of tledge imports them inside functions only."""

HEAVY = {
    "tensorflow", "tf_keras", "tensorflow_hub", "tensorflow_datasets", "onnx", "tf2onnx", "onnxruntime", "sklearn",
    "matplotlib", "ai_edge_litert", "tensorflow_model_optimization", "optuna", "pyarrow", "mlflow",
}  # fmt: skip

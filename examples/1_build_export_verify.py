"""Train LeNet on digits, convert it to TFLite, and print whether an artifact keeps the default budgets."""

import tledge

run = tledge.build("digits", backbone="lenet", run="example")
print(f"test accuracy of the original: {run.manifest.metrics['test'].accuracy:.2%}")

for record in tledge.export(run, ["tflite-float32", "tflite-int8"]):
    print(f"{record.format}: {record.size_bytes / 1e6:.3f} MB")

report = tledge.verify(run, target="cpu")
print(f"verdict: {report.verdict}, best: {report.choice.best}")

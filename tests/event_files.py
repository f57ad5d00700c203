"""What TensorBoard would draw, read by TensorFlow's own reader."""

from __future__ import annotations

from pathlib import Path


def scalars(path: Path) -> list[tuple[int, str, float]]:
    """Step, tag and value of every scalar of an event file, which begins with its version, in the file's order."""
    import tensorflow as tf
    from tensorflow.core.util.event_pb2 import Event

    events = [Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    assert events[0].file_version == "brain.Event:2"
    return [(event.step, value.tag, value.simple_value) for event in events for value in event.summary.value]


def epochs_told(folder: Path) -> list[list[int]]:
    """Numbers of the epochs that each event file of a run's folder tells of, the oldest file first."""
    return [
        [step for step, tag, _ in scalars(path) if tag == "loss/train"]
        for path in sorted(folder.iterdir())  # their names hold the time
    ]

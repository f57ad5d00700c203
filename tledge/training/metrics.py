"""Classification metrics, by scikit-learn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tledge.records import Metrics


def metrics_of(labels: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]) -> Metrics:
    """Metrics of predictions; ``labels`` int64 (N,), ``logits`` float32 (N, num_classes).

    Precision, recall and F1 are unweighted means over the classes that occur in truth or prediction;
    a class that is never predicted has precision 0.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

    predicted = np.argmax(logits, axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0.0)
    return Metrics(
        num_photos=len(labels),
        accuracy=float(accuracy_score(labels, predicted)),
        precision_macro=float(precision),
        recall_macro=float(recall),
        f1_macro=float(f1),
        confusion_matrix=confusion_matrix(labels, predicted, labels=np.arange(logits.shape[1])).tolist(),
    )

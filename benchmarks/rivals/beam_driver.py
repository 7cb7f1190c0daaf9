"""Apache Beam: Parquet through RunInference's TensorFlow handler to Parquet; prints the seconds of the pipeline.

Keras 3 does not read a SavedModel, which is what the handler asks it for, so the package is loaded by TensorFlow in its
place. An element is a row group's rows, for a row an element is slower by far.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import tensorflow as tf
from apache_beam.ml.inference.base import PredictionResult, RunInference
from apache_beam.ml.inference.tensorflow_inference import TFModelHandlerNumpy
from apache_beam.options.pipeline_options import PipelineOptions

RUNNER = "FnApiRunner"  # the default one is a program that is downloaded
BLOCK_ROWS = 65_536
NAMES = ("f", "df_dx")


class Package(TFModelHandlerNumpy):
    """The handler, with the package's signature for a model."""

    def load_model(self) -> Any:
        module = tf.saved_model.load(self._model_uri)
        signature = module.signatures["serving_default"]
        signature.module = module  # whose functions live as long as it does
        return signature


def infer(
    signature: Any, batch: Sequence[np.ndarray], inference_args: Any, model_id: str | None = None
) -> Iterable[PredictionResult]:
    """Return the results of each element's rows."""
    for x in batch:
        parts = [signature(x=tf.constant(x[i : i + BLOCK_ROWS, None])) for i in range(0, len(x), BLOCK_ROWS)]
        results = {name: np.concatenate([part[name].numpy()[:, 0] for part in parts]) for name in NAMES}
        yield PredictionResult(x, results, model_id)


def main(source: str, out: str, package: str) -> None:
    schema = pa.schema([(name, pa.float32()) for name in ("x", *NAMES)])
    handler = Package(package, inference_fn=infer, max_batch_size=1)
    began = time.perf_counter()
    with beam.Pipeline(RUNNER, options=PipelineOptions([])) as pipeline:
        (
            pipeline
            | beam.io.ReadFromParquetBatched(f"{source}/*.parquet")
            | beam.Map(lambda table: table["x"].to_numpy())
            | RunInference(handler)
            | beam.Map(lambda result: pa.table({"x": result.example, **result.inference}, schema=schema))
            | beam.io.WriteToParquetBatched(f"{out}/part", schema, file_name_suffix=".parquet")
        )
    seconds = time.perf_counter() - began
    rows = sum(pa.parquet.read_metadata(path).num_rows for path in Path(out).iterdir())
    print(json.dumps({"seconds": seconds, "rows": rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])

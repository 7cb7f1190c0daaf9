"""The manifests of serving/kubernetes, against the API's schemas, and against the image and the metrics' names."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="it has the schemas")

DIRECTORY = Path(__file__).parents[2] / "serving" / "kubernetes"
RECORD = Path(__file__).parents[1] / "conformance" / "records" / "rest.json"
VERSION = kubernetes_validate.latest_version()
KINDS = {
    "Deployment",
    "Service",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "NetworkPolicy",
}
# What V1beta1PredictorSpec of the KServe SDK 0.21 has beside a pod's own fields and its ready-made runtimes.
KSERVE_FIELDS = {
    *("annotations", "autoScaling", "batcher", "canaryTrafficPercent", "containerConcurrency", "deploymentStrategy"),
    *("labels", "logger", "maxReplicas", "minReplicas", "scaleMetric", "scaleMetricType", "scaleTarget", "timeout"),
    *("storageUris", "workerSpec"),
}
KSERVE_COMPONENTS = {"predictor", "transformer", "explainer", "tracing", "canary"}


def _documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def _base() -> list[dict[str, Any]]:
    files = sorted((DIRECTORY / "base").glob("*.yaml"))
    return [d for f in files if f.name != "kustomization.yaml" for d in _documents(f.read_text())]


def _built(overlay: str) -> dict[str, dict[str, Any]]:
    """What Kustomize makes of an overlay, by kind."""
    commands = [["kustomize", "build"], ["kubectl", "kustomize"]]
    command = next((words for words in commands if shutil.which(words[0])), None)
    if command is None:
        pytest.skip("neither kustomize nor kubectl is installed")
    built = subprocess.run(
        [*command, str(DIRECTORY / "overlays" / overlay)], capture_output=True, text=True, check=True
    )
    return {document["kind"]: document for document in _documents(built.stdout)}


def _validate(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize("document", _base(), ids=lambda document: document["kind"])
def test_the_base_is_valid(document: dict[str, Any]):
    """By the schema of its kind, with no field that the API does not know; a misspelt one is found."""
    _validate(document)
    wrong = copy.deepcopy(document)
    wrong["spec"]["replcas"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        _validate(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_the_overlays_are_valid(overlay: str):
    """Kustomize builds them; a GPU is requested by the GPU's alone, the image is its own, and probes are gRPC's."""
    documents = _built(overlay)
    assert set(documents) == KINDS
    for document in documents.values():
        _validate(document)
    (container,) = documents["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"registry.example/gradwire{'-cpu' if overlay == 'cpu' else ''}:1"
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (overlay == "gpu")
    assert "--enable_grpc_healthcheck_service=true" in container["args"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["grpc"] == {"port": 8500}
    assert documents["Service"]["spec"]["clusterIP"] == "None"
    metric = documents["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["metric"]["name"]
    assert metric == f"tensorflow_serving_{'queuing' if overlay == 'gpu' else 'runtime'}_latency_microseconds"
    assert metric in {rule["name"]["as"] for rule in _rules()}


def test_selectors_agree():
    """Service, budget and network policy are for the Deployment's pods."""
    by_kind = {document["kind"]: document["spec"] for document in _base()}
    labels = by_kind["Deployment"]["template"]["metadata"]["labels"]
    assert by_kind["Deployment"]["selector"]["matchLabels"] == labels
    assert by_kind["Service"]["selector"] == labels
    assert by_kind["PodDisruptionBudget"]["selector"]["matchLabels"] == labels
    assert by_kind["NetworkPolicy"]["podSelector"]["matchLabels"] == labels


def _rules() -> list[dict[str, Any]]:
    return yaml.safe_load((DIRECTORY / "adapter-rules.yaml").read_text())["rules"]["custom"]


def test_the_autoscalers_metrics_are_the_servers():
    """The series that the rules read are histograms of the recorded page of metrics."""
    cases = json.loads(RECORD.read_text())["cases"]
    (metrics,) = (case for case in cases if case["name"] == "metrics")
    histograms = {line.split()[2] for line in metrics["response_types"] if line.endswith(" histogram")}
    for rule in _rules():
        series = rule["seriesQuery"].partition('"')[2].partition('"')[0]
        assert series.removesuffix("_sum") in histograms
        assert series in rule["metricsQuery"]


def test_the_inference_service_is_kserves():
    """Its pod is valid, and what is beside it are fields of KServe's own; it names its image."""
    (service,) = _documents((DIRECTORY / "kserve" / "inferenceservice.yaml").read_text())
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert set(service["spec"]) <= KSERVE_COMPONENTS
    predictor = service["spec"]["predictor"]
    pod = {name: value for name, value in predictor.items() if name not in KSERVE_FIELDS}
    _validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": pod})
    (container,) = pod["containers"]
    assert container["name"] == "kserve-container"
    assert container["image"].startswith("registry.example/gradwire:")
    assert "tensorflow" not in predictor  # KServe's own runtime

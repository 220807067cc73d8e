"""JSON schemas of KubeRay 1.7's RayJob and RayCronJob (ray.io/v1), without status and pods.

Field names, types and limits are those of the CRDs; what is no field there is refused here, while
the API server would drop it without a word. Pod templates are checked as Kubernetes' own.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
INT32: Schema = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
COUNT: Schema = INT32 | {"minimum": 0}
NUMBER: Schema = {"type": "number"}
STRINGS: Schema = {"type": "object", "additionalProperties": STRING}
ANY: Schema = {"type": "object"}
LIST: Schema = {"type": "array", "items": ANY}


def closed(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {
        "type": "object",
        "required": list(required),
        "additionalProperties": False,
        "properties": properties,
    }


POD_TEMPLATE = closed(("spec",), metadata=ANY, spec=ANY)
MANAGED_BY: Schema = {"enum": ["ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"]}
POLICY: Schema = {"enum": ["DeleteCluster", "DeleteWorkers", "DeleteSelf", "DeleteNone"]}
GROUP = {"rayStartParams": STRINGS, "template": POD_TEMPLATE, "resources": ANY, "labels": STRINGS}

HEAD_GROUP = closed(
    ("template",),
    **GROUP,
    headService=ANY,
    enableIngress=BOOLEAN,
    serviceType=STRING,
)
WORKER_GROUP = closed(
    ("groupName", "maxReplicas", "minReplicas", "template"),
    **GROUP,
    groupName=STRING,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    numOfHosts=COUNT,
    suspend=BOOLEAN,
    idleTimeoutSeconds=INT32,
    scaleStrategy=closed(workersToDelete={"type": "array", "items": STRING}),
)
AUTOSCALER = closed(
    resources=ANY,
    image=STRING,
    imagePullPolicy=STRING,
    securityContext=ANY,
    idleTimeoutSeconds=INT32,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    version={"enum": ["v1", "v2"]},
    env=LIST,
    envFrom=LIST,
    volumeMounts=LIST,
    command={"type": "array", "items": STRING},
    args={"type": "array", "items": STRING},
)
CLUSTER = closed(
    ("headGroupSpec",),
    suspend=BOOLEAN,
    managedBy=MANAGED_BY,
    authOptions=closed(
        enableK8sTokenAuth=BOOLEAN, mode={"enum": ["disabled", "token"]}, secretName=STRING
    ),
    autoscalerOptions=AUTOSCALER,
    headServiceAnnotations=STRINGS,
    enableInTreeAutoscaling=BOOLEAN,
    gcsFaultToleranceOptions=ANY,
    upgradeStrategy=ANY,
    headGroupSpec=HEAD_GROUP,
    rayVersion=STRING,
    workerGroupSpecs={"type": "array", "items": WORKER_GROUP},
)
RAY_JOB_SPEC = closed(
    activeDeadlineSeconds=INT32 | {"minimum": 1},
    preRunningDeadlineSeconds=INT32 | {"minimum": 1},
    backoffLimit=COUNT,
    clusterSelector=STRINGS,
    deletionStrategy=ANY,
    entrypoint=STRING,
    entrypointNumCpus=NUMBER,
    entrypointNumGpus=NUMBER,
    entrypointResources=STRING,
    jobId=STRING,
    managedBy=MANAGED_BY,
    metadata=STRINGS,
    rayClusterSpec=CLUSTER,
    runtimeEnvYAML=STRING,
    shutdownAfterJobFinishes=BOOLEAN,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    submitterConfig=closed(backoffLimit=COUNT),
    submitterPodTemplate=POD_TEMPLATE,
    suspend=BOOLEAN,
    ttlSecondsAfterFinished=COUNT,
)


def _kind(name: str, spec: Schema) -> Schema:
    return closed(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "ray.io/v1"},
        kind={"const": name},
        metadata=closed(name=STRING, namespace=STRING, labels=STRINGS, annotations=STRINGS),
        spec=spec,
    )


RAY_JOB = _kind("RayJob", RAY_JOB_SPEC)
RAY_CRON_JOB = _kind(
    "RayCronJob",
    closed(
        ("jobTemplate", "schedule"),
        jobTemplate=RAY_JOB_SPEC,
        schedule=STRING,
        suspend=BOOLEAN,
        timeZone=STRING | {"minLength": 1},
    ),
)

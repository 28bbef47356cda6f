"""Tells moto what it cannot know: log groups, repositories and their images, alarms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from moto.cloudwatch.models import (
    CloudWatchBackend,
    Dimension,
    Metric,
    MetricDataQuery,
    MetricStat,
    cloudwatch_backends,
)
from moto.ecr.models import ECRBackend, ecr_backends
from moto.logs.models import LogsBackend, logs_backends

from rehearsal.api import tags
from rehearsal.api.account import Account
from rehearsal.images import assets
from rehearsal.stacks import ACCOUNT
from rehearsal.world import tags_of
from templates import Value

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def sow(account: Account) -> None:
    """Make what the templates declare and moto keeps; what is there stays as it is."""
    region = account.region
    _log_groups(account, logs_backends[ACCOUNT][region])
    _repositories(account, ecr_backends[ACCOUNT][region])
    _alarms(account, cloudwatch_backends[ACCOUNT][region])


def tell_alarms(account: Account) -> None:
    """Bring moto's states of the alarms up to the world's."""
    backend: CloudWatchBackend = cloudwatch_backends[ACCOUNT][account.region]
    for _, name, _ in account.resources("AWS::CloudWatch::Alarm"):
        wanted = "ALARM" if name in account.world.state.alarms else "OK"
        alarm = backend.alarms.get(name)
        if alarm is not None and alarm.state_value != wanted:
            backend.set_alarm_state(name, f"The rehearsal measures: {wanted}", "{}", wanted)


def _log_groups(account: Account, backend: LogsBackend) -> None:
    for _, name, properties in account.resources("AWS::Logs::LogGroup"):
        if name not in backend.groups:
            backend.create_log_group(name, tags_of(properties))
            if properties.get("RetentionInDays"):
                backend.groups[name].retention_in_days = int(properties["RetentionInDays"])


def _repositories(account: Account, backend: ECRBackend) -> None:
    for _, name, properties in account.resources("AWS::ECR::Repository"):
        if name not in backend.repositories:
            scan = bool((properties.get("ImageScanningConfiguration") or {}).get("ScanOnPush"))
            backend.create_repository(
                repository_name=name,
                registry_id=None,
                encryption_config={},
                image_scan_config={"scanOnPush": scan},
                image_tag_mutability=str(properties.get("ImageTagMutability") or "MUTABLE"),
                tags=tags.to_others(tags_of(properties)),
            )
            if text := (properties.get("LifecyclePolicy") or {}).get("LifecyclePolicyText"):
                backend.put_lifecycle_policy(ACCOUNT, name, str(text))
    for record in account.world.stacks.records.values():
        for asset in assets(record.stack):
            for tag in asset.tags:
                _image(account, backend, tag)


def _image(account: Account, backend: ECRBackend, local: str) -> None:
    """Put an image's name into its repository; its layers stay with the engine."""
    repository, _, tag = local.rpartition(":")
    there = backend.repositories.get(repository)
    if there is None or any(tag in image.image_tags for image in there.images):
        return
    config = hashlib.sha256(account.world.engine.image(local).id.encode()).hexdigest()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": 0,
                "digest": f"sha256:{config}",
            },
            "layers": [],
        }
    )
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    backend.put_image(repository, manifest, tag, digest=f"sha256:{digest}")


def _alarms(account: Account, backend: CloudWatchBackend) -> None:
    for _, name, properties in account.resources("AWS::CloudWatch::Alarm"):
        if name in backend.alarms:
            continue
        backend.put_metric_alarm(
            name=name,
            # Of an alarm on metric math there are none of these.
            namespace=_get(properties, "Namespace"),
            metric_name=_get(properties, "MetricName"),
            period=_get(properties, "Period"),
            statistic=_get(properties, "Statistic"),
            extended_statistic=_get(properties, "ExtendedStatistic"),
            comparison_operator=str(properties.get("ComparisonOperator")),
            evaluation_periods=int(properties.get("EvaluationPeriods") or 1),
            threshold=float(properties.get("Threshold") or 0),
            description=str(properties.get("AlarmDescription") or ""),
            dimensions=[_dimension(one) for one in properties.get("Dimensions") or []],
            alarm_actions=[str(one) for one in properties.get("AlarmActions") or []],
            metric_data_queries=[_query(one) for one in properties.get("Metrics") or []],
            datapoints_to_alarm=_get(properties, "DatapointsToAlarm"),
            treat_missing_data=_get(properties, "TreatMissingData"),
            tags=tags.to_others(tags_of(properties)),
        )


def _query(one: Mapping[str, Value]) -> MetricDataQuery:
    stat: Mapping[str, Value] = one.get("MetricStat") or {}
    metric: Mapping[str, Value] = stat.get("Metric") or {}
    of = [
        Dimension(str(each["Name"]), str(each["Value"])) for each in metric.get("Dimensions") or []
    ]
    return MetricDataQuery(
        _get(one, "Id"),
        _get(one, "Label") or _get(one, "Id"),
        _get(one, "Period"),
        _get(one, "ReturnData") is not False,  # type: ignore[arg-type] # a flag, on the wire too
        expression=_get(one, "Expression"),
        metric_stat=MetricStat(
            Metric(_get(metric, "MetricName"), _get(metric, "Namespace"), of),
            _get(stat, "Period"),
            _get(stat, "Stat"),
            _get(stat, "Unit"),
        )
        if stat
        else None,
    )


def _get(one: Mapping[str, Value], name: str) -> Any:  # noqa: ANN401 - what moto types closer
    return one.get(name)


def _dimension(one: Mapping[str, Value]) -> dict[str, str]:
    return {"Name": str(one["Name"]), "Value": str(one["Value"])}

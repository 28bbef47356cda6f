"""Writes the services of an environment as Kubernetes manifests, from its synthesized templates.

Read, on 2026-11-25: Kubernetes' own documentation and the descriptions in its OpenAPI schemas
(1.37); ECS's and Elastic Load Balancing's API references as botocore carries them. Where a rule
stands on another page, or on none, it says so beside the rule.
"""

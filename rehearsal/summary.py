"""What a command tells of a World that is played: where it is, how it is, and what it is not."""

from __future__ import annotations

from rehearsal.world import World


def summary(world: World) -> dict[str, object]:
    """Give all that a user, or a command, needs to know to use it."""
    with world.lock:
        return {
            "url": f"http://127.0.0.1:{world.port}",
            "endpoint": f"http://127.0.0.1:{world.endpoint_port}",
            "region": world.stacks.region,
            "cluster": world.cluster_name if world.stacks.records else "",
            "services": list(world.state.services),
            "instances": {
                world.hosts[one.id].ec2_id: f"{one.zone} {one.status}"
                for one in world.state.instances.values()
            },
            "tasks": {
                one.id: f"{one.service or one.group} {one.status} {one.health}"
                for one in world.state.tasks.values()
            },
            "balancer_pid": world.balancer.pid if hasattr(world, "balancer") else None,
            "not_played": not_played(world),
            "departures": departures(world),
        }


def not_played(world: World) -> str:
    """Say in one line which types nobody plays, and what plays no part because of it."""
    by_reason: dict[str, list[str]] = {}
    for kind, why in world.stacks.not_played().items():
        by_reason.setdefault(why, []).append(kind.removeprefix("AWS::"))
    parts = [f"{why} ({', '.join(kinds)})" for why, kinds in by_reason.items()]
    return f"Not played: {'; '.join(parts)}." if parts else ""


def departures(world: World) -> list[str]:
    """Say each thing that is not as on AWS, and each limit that the engine does not set."""
    found = [*world.departures]
    if hasattr(world, "agent"):
        found += world.agent.departures
    if hasattr(world, "balancer"):
        found += world.balancer.departures
    return found + [f"not enforced: {one}" for one in world.engine.not_enforced]

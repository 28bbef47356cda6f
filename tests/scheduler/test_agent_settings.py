"""What user data says to the agent is read however it is written, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

import templates
from scheduler.agent_settings import AgentSettings, agent_settings
from templates import TemplateError


def test_the_synthesized_user_data_is_read(assembly: Path) -> None:
    graph = templates.read(assembly)
    (template,) = graph.stack("Sandbox/Cluster").of_type("AWS::EC2::LaunchTemplate")
    found = agent_settings(graph.properties(template)["LaunchTemplateData"]["UserData"])
    assert found.task_pids_limit == 128
    assert found.reserved_memory_mib == 128
    assert found.container_metadata
    assert found.host_ports == (20000, 20255)
    assert found.stop_timeout_seconds == 30
    assert found.cleanup_wait_seconds == 3600
    assert found.settings["ECS_IMAGE_PULL_BEHAVIOR"]


@pytest.mark.parametrize(
    "user_data",
    [
        "echo ECS_TASK_PIDS_LIMIT=5 >> /etc/ecs/ecs.config",
        "  echo 'ECS_TASK_PIDS_LIMIT=5' >>/etc/ecs/ecs.config",
        'echo "ECS_TASK_PIDS_LIMIT=5" > /etc/ecs/ecs.config\n',
        "cat <<'EOF' >> /etc/ecs/ecs.config\nECS_CLUSTER=a\nECS_TASK_PIDS_LIMIT=5\nEOF\n",
        "cat > /etc/ecs/ecs.config <<EOF\nECS_TASK_PIDS_LIMIT=5\nEOF\necho done",
        "echo ECS_TASK_PIDS_LIMIT=9 >> /etc/ecs/ecs.config\n"
        "echo ECS_TASK_PIDS_LIMIT=5 >> /etc/ecs/ecs.config",
    ],
)
def test_a_setting_is_read_however_it_is_written(user_data: str) -> None:
    assert agent_settings(user_data).task_pids_limit == 5


def test_what_is_written_elsewhere_is_no_setting() -> None:
    elsewhere = "echo ECS_TASK_PIDS_LIMIT=5 >> /tmp/notes\n# ECS_RESERVED_MEMORY=1"
    assert agent_settings(elsewhere) == AgentSettings()


@pytest.mark.parametrize(("text", "is_on"), [("true", True), ("True", True), ("false", False)])
def test_a_switch_is_on_by_the_word(text: str, is_on: bool) -> None:
    user_data = f"echo ECS_ENABLE_SPOT_INSTANCE_DRAINING={text} >> /etc/ecs/ecs.config"
    assert agent_settings(user_data).drains_on_notice is is_on


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("1m30s", 90), ("2m", 120), ("1h", 3600), ("0s", 1)]
)
def test_the_stop_timeout_is_read_in_the_agents_own_notation(text: str, seconds: int) -> None:
    user_data = f"echo ECS_CONTAINER_STOP_TIMEOUT={text} >> /etc/ecs/ecs.config"
    assert agent_settings(user_data).stop_timeout_seconds == seconds


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("ECS_TASK_PIDS_LIMIT=0", "expected an integer from 1 to 4194304, got '0'"),
        ("ECS_TASK_PIDS_LIMIT=many", "expected an integer from 1 to 4194304, got 'many'"),
        ("ECS_RESERVED_MEMORY=-1", "expected an integer from 0 to 4294967296, got '-1'"),
        ("ECS_CONTAINER_STOP_TIMEOUT=30", "expected a duration like 30s or 1m30s, got '30'"),
        (
            "ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION=soon",
            "expected a duration like 30s or 1m30s, got 'soon'",
        ),
        ("ECS_DYNAMIC_HOST_PORT_RANGE=9-5", "expected two ports like 20000-20255, got '9-5'"),
    ],
)
def test_a_setting_that_the_agent_would_pass_over_is_refused(setting: str, said: str) -> None:
    with pytest.raises(TemplateError) as refused:
        agent_settings(f"echo {setting} >> /etc/ecs/ecs.config")
    assert str(refused.value) == f"{setting.partition('=')[0]}: {said}"

"""What is said of a machine: measured where one was booted, and recorded where none was."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench import machines
from bench.machines import MACHINE, PROCESS, RECORDED, Machine, NoMachineError, Started

CONTAINERS = {PROCESS: [Started(0.3, 30)], "docker": [Started(0.4, 40), Started(0.6, 40)]}


def test_the_ratio_is_of_the_machine_s_start_over_a_container_s() -> None:
    found = {**CONTAINERS, "podman": [Started(9, 9)], MACHINE: [Started(4.0, 200)]}
    outcome = machines.report(found, Machine(Path("vmlinuz-7"), Path("disk"), "tcg"), 2)
    assert outcome.ratio == 8.0
    assert "virtual machine (tcg)     4.00  200.0" in outcome.table
    assert "128 MiB, vmlinuz-7" in outcome.table
    assert "recorded" not in outcome.table


def test_what_is_recorded_says_so_and_is_compared_with_its_like() -> None:
    outcome = machines.report(CONTAINERS, None, 2)
    assert outcome.ratio == RECORDED[MACHINE].seconds / RECORDED["docker"].seconds
    assert "virtual machine (recorded)" in outcome.table
    assert "recorded: on 2026-" in outcome.table
    assert "nothing was booted here" in outcome.table


def test_a_process_is_counted_with_those_that_it_started() -> None:
    source = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'held = b\"x\" * (40 << 20); input()'])\n"
        "print('started', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        try:
            for _ in range(100):
                if machines.resident_mib(process.pid) > 48:
                    break
            assert 48 < machines.resident_mib(process.pid) < 200
            assert machines.resident_mib(os.getpid()) > machines.resident_mib(process.pid)
        finally:
            process.stdin.write(b"\n")


def test_without_qemu_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoMachineError, match="apt install qemu-system-x86 busybox-static"):
        machines.prepare(tmp_path)


def test_a_machine_that_never_comes_up_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    silent = tmp_path / machines.QEMU
    silent.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    silent.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(machines, "KVM_SECONDS", 0.2)
    with pytest.raises(NoMachineError, match="with kvm does not boot within"):
        Machine(Path("kernel"), Path("disk"), "kvm").boot()


def test_a_machine_is_booted_where_qemu_is_installed(tmp_path: Path) -> None:
    if shutil.which(machines.QEMU) is None or shutil.which("busybox") is None:
        pytest.skip("no qemu, or no busybox; apt install qemu-system-x86 busybox-static")
    fetched = machines.FOLDER / "boot"
    if not fetched.is_dir():
        pytest.skip("no kernel; python -m bench machines fetches one")
    (tmp_path / "boot").symlink_to(fetched)
    started = machines.prepare(tmp_path).boot()
    assert 0 < started.seconds < machines.TCG_SECONDS
    assert started.mib > 20

"""Reloading: whole or not at all, on a ConfigMap's swap as on a plain edit, and what must not change while running."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from guardproxy.config.audit_target import AuditTarget
from guardproxy.config.read import read_settings
from guardproxy.config.reload import Reloader, RuntimeHolder, Source, adopt, needing_restart
from guardproxy.config.runtime import Foundation, build, lay_foundation
from guardproxy.config.settings import Audit, Listen, Log, Settings

PATIENCE_S = 10.0


@dataclass
class Running:
    holder: RuntimeHolder
    foundation: Foundation
    reloader: Reloader

    @property
    def revision(self) -> str:
        return self.holder.current.revision

    def gauge(self) -> float | None:
        return self.foundation.metrics.registry.get_sample_value("guardproxy_config_last_reload_successful")

    def shown_revision(self, revision: str) -> bool:
        value = self.foundation.metrics.registry.get_sample_value
        return value("guardproxy_config_revision_info", {"revision": revision}) == 1

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(file: Path) -> AsyncIterator[Running]:
    source = Source(lambda: read_settings(file), file.parent)
    reading = source.first()
    foundation = lay_foundation(reading.settings, AuditTarget(None))
    holder = RuntimeHolder(build(reading.settings, foundation))
    adopt(holder.build, foundation)
    reloader = Reloader(holder, foundation, source, reading.seen)
    task = asyncio.create_task(reloader.run())
    await asyncio.sleep(0.5)  # the watch is a thread's; nothing tells when it has begun
    try:
        yield Running(holder, foundation, reloader)
    finally:
        task.cancel()
        await asyncio.wait([task])
        await reloader.close()
        await holder.build.close()


def config_map(mount: Path, version: str, files: dict[str, str]) -> None:
    """What the kubelet does: a new directory, then one rename of the link that all the names go through."""
    (mount / f"..{version}").mkdir(parents=True)
    for name, text in files.items():
        (mount / f"..{version}" / name).write_text(text)
        if not (mount / name).is_symlink():
            (mount / name).symlink_to(f"..data/{name}")
    (mount / "..data_tmp").symlink_to(f"..{version}")
    (mount / "..data_tmp").rename(mount / "..data")


def test_an_edit_is_taken_over(folder) -> None:
    async def play() -> None:
        async with running(folder.settings_file) as proxy:
            before = proxy.revision
            folder.write(advice="Delete nothing.")
            await proxy.until(lambda: proxy.revision != before)
            assert proxy.gauge() == 1
            assert proxy.shown_revision(proxy.revision)
            assert not proxy.shown_revision(before)

    asyncio.run(play())


def test_every_swap_of_a_config_map_is_taken_over(folder, tmp_path: Path) -> None:
    """A watch on the file itself sees the first one only."""
    mount = tmp_path / "mount"

    def swap(version: str) -> None:
        config_map(mount, version, folder.texts(advice=f"Advice {version}."))

    async def play() -> None:
        swap("1")
        async with running(mount / "guardproxy.yaml") as proxy:
            for version in ("2", "3", "4"):
                before = proxy.revision
                swap(version)
                await proxy.until(lambda before=before: proxy.revision != before)
                assert proxy.holder.build.policy.rules[0].advice == f"Advice {version}."

    asyncio.run(play())


@pytest.mark.parametrize(
    "break_it",
    [
        lambda folder: folder.settings_file.write_text("policy: [own.yaml]\nnonsense: 1\n"),
        lambda folder: folder.settings_file.write_text("policy: [own.yaml"),
        lambda folder: folder.settings_file.unlink(),
        lambda folder: (folder.path / "own.yaml").write_text("rules: []\n"),
        lambda folder: (folder.path / "own.yaml").unlink(),
        lambda folder: folder.write(expect="allow"),
        lambda folder: folder.write("listen: {port: 0, admin_port: 0, host: 0.0.0.0}\npolicy: [own.yaml]\n"),
        lambda folder: folder.write("listen: {port: 8081, admin_port: 0}\npolicy: [own.yaml]\n"),
    ],
    ids=["unknown key", "no YAML", "no file", "no rules", "no pack", "failing pack test", "no keys", "another port"],
)
def test_the_last_good_configuration_stays_in_force(break_it, folder, caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        async with running(folder.settings_file) as proxy:
            before = proxy.holder.build
            break_it(folder)
            await proxy.until(lambda: proxy.gauge() == 0)
            assert proxy.holder.build is before
            assert proxy.shown_revision(before.runtime.revision)
            folder.write(advice="Better.")
            await proxy.until(lambda: proxy.gauge() == 1)
            assert proxy.holder.build.policy.rules[0].advice == "Better."

    asyncio.run(play())
    assert "the configuration was not reloaded; the last good one stays in force" in caplog.text


def test_a_request_keeps_the_runtime_it_began_with(folder) -> None:
    async def play() -> None:
        async with running(folder.settings_file) as proxy:
            mine = proxy.holder.current
            folder.write(advice="Other.")
            await proxy.until(lambda: proxy.holder.current is not mine)
            assert mine.guards[0].policy.rules[0].advice == "Delete less."
            assert mine.taint is proxy.holder.current.taint

    asyncio.run(play())


def test_a_signal_reloads_what_no_watch_sees(folder, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one")
    folder.write(
        "listen: {port: 0, admin_port: 0}\npolicy: [own.yaml]\nguards: {classifier: {enabled: false}}\n"
        f"upstreams: [{{base_url: 'http://h/v1', api_key: '${{file:{secret}}}'}}]\n"
    )

    def key(proxy: Running) -> str:
        found = proxy.holder.build.settings.upstreams[0].api_key
        return found.get_secret_value() if found else ""

    async def play() -> None:
        async with running(folder.settings_file) as proxy:
            secret.write_text("two")
            proxy.reloader.request()
            await proxy.until(lambda: key(proxy) == "two")

    asyncio.run(play())


def test_an_audit_beside_the_configuration_reloads_nothing(folder) -> None:
    async def play() -> None:
        folder.write(
            "listen: {port: 0, admin_port: 0}\npolicy: [own.yaml]\nguards: {classifier: {enabled: false}}\n"
            "audit: {path: audit.jsonl}\n"
        )
        async with running(folder.settings_file) as proxy:
            before = proxy.holder.build
            for name in ("audit.jsonl", "audit.jsonl.1"):
                (folder.path / name).write_text("{}\n")
            os.utime(folder.settings_file)
            await asyncio.sleep(1.0)
            assert proxy.holder.build is before

    asyncio.run(play())


def test_a_change_during_the_start_is_not_lost(folder) -> None:
    """The digest belongs to what was read, not to what lies there a moment later."""

    async def play() -> None:
        source = Source(lambda: read_settings(folder.settings_file), folder.path)
        reading = source.first()
        foundation = lay_foundation(reading.settings, AuditTarget(None))
        holder = RuntimeHolder(build(reading.settings, foundation))
        folder.write(advice="Changed meanwhile.")
        reloader = Reloader(holder, foundation, source, reading.seen)
        task = asyncio.create_task(reloader.run())
        proxy = Running(holder, foundation, reloader)
        await proxy.until(lambda: holder.build.policy.rules[0].advice == "Changed meanwhile.")
        task.cancel()
        await asyncio.wait([task])
        await reloader.close()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("change", "paths"),
    [
        ({"listen": Listen(port=1)}, ["listen.port"]),
        ({"listen": Listen(host="127.0.0.2", admin_host="::1")}, ["listen.host", "listen.admin_host"]),
        ({"audit": Audit(queue=7)}, ["audit"]),
        ({"log": Log(level="debug")}, []),
        ({"listen": Listen(allowed_hosts=("h",))}, []),
    ],
)
def test_what_needs_a_restart(change: dict[str, object], paths: list[str]) -> None:
    new = Settings().model_copy(update=change)
    assert [fault.path for fault in needing_restart(Settings(), new)] == paths

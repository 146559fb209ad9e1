"""Changes of the configuration while requests run: the new one is built beside the old, then swapped whole.

What cannot be read, built or does not pass its own tests changes nothing: the last good configuration stays in force,
the log says why, and `guardproxy_config_last_reload_successful` falls to 0. A request keeps the runtime it began with.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from guardproxy.config.runtime import Build, Foundation, build
from guardproxy.config.settings import STDOUT, Settings, is_pack_file
from guardproxy.config.snapshot import digest, is_noise
from guardproxy.errors import ConfigurationError, Fault
from guardproxy.runtime import Runtime

SETTLE_S = 0.1  # between two looks at the files that must agree
MAX_LOOKS = 50
LOOK_EVERY_S = 10  # also without a sign of change: network file systems give none, and a watch takes a moment to begin

_log = logging.getLogger(__name__)


class RuntimeHolder:
    """Holds the build in force. One assignment swaps it, so no request ever sees half of one."""

    def __init__(self, first: Build) -> None:
        self._build = first

    @property
    def current(self) -> Runtime:
        return self._build.runtime

    @property
    def build(self) -> Build:
        return self._build

    def swap(self, new: Build) -> Build:
        """Puts `new` in force and returns the build that was."""
        old, self._build = self._build, new
        return old


@dataclass(frozen=True, slots=True)
class Source:
    """Where settings are read again from. `directory` is the configuration file's, None where there is no file."""

    read: Callable[[], Settings]
    directory: Path | None

    def first(self) -> "Reading":
        """Settings, and the digest of the files that they and their packs were read from."""
        while True:
            settings = self.read()
            seen = look(self.directory, settings)
            if self.read() == settings:
                return Reading(settings, seen)


@dataclass(frozen=True, slots=True)
class Reading:
    settings: Settings
    seen: str


class Reloader:
    """`seen` is the digest of what the build in `holder` was made from."""

    def __init__(self, holder: RuntimeHolder, foundation: Foundation, source: Source, seen: str) -> None:
        self._holder = holder
        self._foundation = foundation
        self._source = source
        self._asked = asyncio.Event()
        self._force = False
        self._seen = seen
        self._retiring: set[asyncio.Task[None]] = set()

    def request(self) -> None:
        """Read everything again, changed or not: what `${file:…}` names may lie elsewhere. For SIGHUP."""
        self._force = True
        self._asked.set()

    async def run(self) -> None:
        """Until cancelled. Begins with a look: something may have changed since the start."""
        watching = asyncio.create_task(self._watch())
        self._asked.set()
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                force, self._force = self._force, False
                watched = self._directories()
                if await self._reload(force) and self._directories() != watched:
                    watching.cancel()
                    watching = asyncio.create_task(self._watch())
        finally:
            watching.cancel()

    async def close(self) -> None:
        """Closes what replaced builds have left. For the end of the process, when nothing is under way."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)

    # Watching

    async def _watch(self) -> None:
        from watchfiles import awatch

        directories = [path for path in self._directories() if path.is_dir()]
        if not directories:
            return
        try:
            # The directory, not the file: a ConfigMap's update swaps a link beside it, after which a watch on the
            # file is blind.
            changes = awatch(
                *directories,
                recursive=False,
                watch_filter=lambda _, path: self._matters(path),
                rust_timeout=LOOK_EVERY_S * 1000,
                yield_on_timeout=True,
            )
            async for _ in changes:
                self._asked.set()
        except Exception as error:
            _log.error("the configuration is not watched (%s); send SIGHUP after a change", type(error).__name__)

    def _directories(self) -> frozenset[Path]:
        return frozenset(directories_of(self._source.directory, self._settings))

    def _matters(self, path: str) -> bool:
        name = Path(path).name
        return name == "..data" or not (is_noise(name) or is_audit(name, self._settings))

    @property
    def _settings(self) -> Settings:
        return self._holder.build.settings

    def _look(self) -> str:
        return look(self._source.directory, self._settings)

    # Reloading

    async def _reload(self, force: bool) -> bool:
        """Whether another configuration is in force now."""
        try:
            new = await self._changed_build(force)
            if new is not None:
                await new.start()
        except ConfigurationError as error:
            self._foundation.metrics.reloaded(ok=False)
            _log.error("the configuration was not reloaded; the last good one stays in force")
            for fault in error.faults:
                _log.error("%s", fault)
            return False
        if new is None:
            return False
        old = self._holder.swap(new)
        adopt(new, self._foundation)
        self._retire(old, new)
        _log.info("configuration reloaded: revision %s", new.runtime.revision)
        return True

    async def _changed_build(self, force: bool) -> Build | None:
        """A build of files that did not change while they were read; None where they are those in force."""
        if not force and await asyncio.to_thread(self._look) == self._seen:
            return None
        for _ in range(MAX_LOOKS):
            before = await self._settled()
            if before == self._seen and not force:
                return None
            try:
                new, problem = await asyncio.to_thread(self._build), None
            except ConfigurationError as error:
                new, problem = None, error
            if before == await asyncio.to_thread(self._look):
                self._seen = before
                if problem is not None:
                    raise problem
                return new
            if new is not None:
                await new.close_unshared(self._holder.build)
        raise ConfigurationError([Fault(str(self._source.directory), None, "", "the files keep changing")])

    async def _settled(self) -> str:
        last = await asyncio.to_thread(self._look)
        for _ in range(MAX_LOOKS):
            await asyncio.sleep(SETTLE_S)
            now = await asyncio.to_thread(self._look)
            if now == last:
                break
            last = now
        return last

    def _build(self) -> Build:
        settings = self._source.read()
        old = self._holder.build
        if faults := list(needing_restart(old.settings, settings)):
            raise ConfigurationError(faults)
        return build(settings, self._foundation, old)

    def _retire(self, old: Build, new: Build) -> None:
        task = asyncio.create_task(_close_later(old, new))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


async def _close_later(old: Build, new: Build) -> None:
    """No request outlives its deadline, so after it nobody uses the old build any more."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(old.runtime.limits.deadline_s)
    await old.close_unshared(new)


def adopt(new: Build, foundation: Foundation) -> None:
    """Tells the metrics what is in force, and the log what is not."""
    for fault in new.classifier.faults:
        _log.error("the classifier goes on without a model (on_model_fault: degrade): %s", fault)
    foundation.metrics.adopt(
        new.runtime.revision,
        upstreams=tuple(new.upstreams),
        guards=[guard.name for guard in new.runtime.guards],
        rules=[rule.id for rule in new.policy.rules],
        arms=[arm.name for arm in new.arms],
        models_missing=len(new.classifier.faults),
    )


def look(directory: Path | None, settings: Settings) -> str:
    """The digest of all files that a reload may read."""
    return digest(frozenset(directories_of(directory, settings)), lambda name: is_audit(name, settings))


def is_audit(name: str, settings: Settings) -> bool:
    """The audit may be written beside the configuration, and is no part of it."""
    path = settings.audit.path
    return path is not None and path != STDOUT and name.startswith(Path(path).name)


def directories_of(configuration: Path | None, settings: Settings) -> Iterator[Path]:
    """Where the files lie that a reload reads."""
    if configuration is not None:
        yield configuration
    for pack in settings.policy:
        if is_pack_file(pack):
            yield Path(pack).parent
    prefix = settings.prefix
    for file in (prefix.file, *prefix.files, *(file for arm in prefix.arms for file in arm.files)):
        if file is not None:
            yield file.parent


def needing_restart(old: Settings, new: Settings) -> Iterator[Fault]:
    """Parts that stay as they are for the life of the process. A changed one is refused: half a swap is none.

    The address matters most: keys may not be taken away because a file, but not the socket, moved to loopback.
    """
    said = "cannot change while the proxy runs; restart it"
    for name in ("host", "port", "admin_host", "admin_port", "admin_exposed", "tls", "drain_s"):
        if getattr(old.listen, name) != getattr(new.listen, name):
            yield Fault("configuration", None, f"listen.{name}", said)
    if old.audit != new.audit:
        yield Fault("configuration", None, "audit", said)

"""Routes and life-cycle: uploads in any aiohttp application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from aiohttp import web

from tusd_py.engine.service import Engine
from tusd_py.web.handlers import Mount, MountOptions, leave_expectation


class Service(Protocol):
    """What starts and stops with an application."""

    async def start(self) -> None:
        """Get ready to serve. Raises `StartupError`."""

    def drain(self) -> None:
        """Stop reading bodies."""

    async def stop(self) -> None:
        """Release everything."""


SERVICES: web.AppKey[list[Service]] = web.AppKey("tusd_py.services", list)


def add_mount(app: web.Application, prefix: str, engine: Engine, options: MountOptions) -> Mount:
    """Serve uploads below `prefix` of an application, with and without a trailing slash.

    Adds two routes, and nothing else that other routes could notice: no middleware, no signal on responses, no
    logger. Several mounts may share an engine. `prefix` may hold variables of the router (`/users/{user}/files`).
    """
    mount = Mount(engine, options)
    path = prefix.strip("/") and "/" + prefix.strip("/")
    # Nearly every request has a slash behind the prefix, and the first route is looked at first.
    app.router.add_route("*", path + "/{tail:(?s:.*)}", mount.handle, expect_handler=leave_expectation)
    if path:
        app.router.add_route("*", path, mount.handle, expect_handler=leave_expectation)
    return mount


def own_service(app: web.Application, service: Service) -> None:
    """Start a service with an application and stop it with it.

    Mounts of one application share it; what several applications share has to count its starts and stops.
    """
    services = app.setdefault(SERVICES, [])
    if service in services:
        return
    services.append(service)

    async def lifespan(_: web.Application) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    async def drain(_: web.Application) -> None:
        service.drain()

    app.cleanup_ctx.append(lifespan)
    app.on_shutdown.append(drain)

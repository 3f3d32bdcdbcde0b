"""Three lines for an aiohttp application."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from msgspec import structs

from tusd_py.assembly import Tus, build, mount_options
from tusd_py.settings import Settings
from tusd_py.web.setup import add_mount, own_service


def setup(
    app: web.Application,
    prefix: str = "/files",
    *,
    tus: Tus | None = None,
    settings: Settings | None = None,
    **overrides: Any,
) -> Tus:
    """Serve uploads below `prefix` of an application, with and without a trailing slash.

    The service starts and stops with the application. Nothing of the application changes for other routes: no
    middleware, no logger, no event loop policy, no size limit.

    Args:
        app: the application, or one of its sub-applications.
        prefix: the path; may hold variables of the router, such as `/users/{user}/files`.
        tus: a service made before, to be shared by several mounts; by default a new one.
        settings: what this mount allows, and for a new service also where it stores; by default that of `tus`,
            or `Settings()`.
        overrides: single settings by name, such as `data_dir="./data"` or `max_size="10GiB"`.

    Raises:
        StartupError: a setting is unknown or has a bad value. A directory that cannot be used is reported when the
            application starts.
    """
    settings = settings or (tus.settings if tus is not None else Settings())
    if overrides:
        settings = Settings.make(**{**structs.asdict(settings), **overrides})
    tus = tus or build(settings)
    add_mount(app, prefix, tus.engine, mount_options(settings))
    own_service(app, tus)
    return tus

"""Stores: where bytes and what is known of them live. Each implements `tusd_py.abc`; `tusd_py.testing` checks one."""

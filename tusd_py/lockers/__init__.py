"""Lockers: who may change an upload. Each implements `tusd_py.abc.Locker`; `tusd_py.testing.LockerTests` checks one."""

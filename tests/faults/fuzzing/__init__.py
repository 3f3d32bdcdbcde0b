"""Hostile input: how it is made (`values`, `heads`), what reads it (`readers`, `attack`), what must hold (`rules`)."""

"""Telling applications what happens to uploads: functions, commands and URLs, in the payloads of tusd."""

"""tuspyserver in a FastAPI application: python tuspyserver_app.py PORT DIRECTORY."""

import sys

import uvicorn
from fastapi import FastAPI
from tuspyserver import create_tus_router

port, directory = sys.argv[1:]
app = FastAPI()
app.include_router(create_tus_router(files_dir=directory, max_size=2**30))
uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")

"""nginx that stores what is PUT: python nginx_dav.py PORT DIRECTORY NGINX. This process becomes nginx."""

import os
import sys
from pathlib import Path

port, directory, program = sys.argv[1:]
place = Path(directory)
notes = place.parent
inside = place / "unfinished"  # on the same file system, so that a finished body is renamed and not copied
user = "user root;" if os.geteuid() == 0 else ""
text = f"""
{user}
daemon off;
worker_processes 1;
pid {notes}/pid;
error_log stderr error;
events {{}}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_buffer_size 1m;
  client_body_temp_path {inside};
  server {{
    listen 127.0.0.1:{port};
    location / {{ root {place}/files; dav_methods PUT DELETE; create_full_put_path on; }}
  }}
}}
"""
(place / "files").mkdir()
(notes / "nginx.conf").write_text(text)
os.execv(program, [program, "-p", directory, "-e", "stderr", "-c", f"{notes}/nginx.conf"])

"""What tests stand on: servers to talk to, and two ways to talk (a tus client that hides nothing, raw sockets)."""

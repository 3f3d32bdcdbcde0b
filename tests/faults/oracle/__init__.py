"""What is true: bytes that name their writer, the log of the clients, a model of a server, and a checker."""

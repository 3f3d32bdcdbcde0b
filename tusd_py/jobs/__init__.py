"""Work that uploads owe: registered tasks, run from durable rows until they succeed or have failed too often."""

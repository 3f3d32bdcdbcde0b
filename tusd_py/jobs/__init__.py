"""Work that a finished upload owes: registered functions, run from durable rows until they succeed."""

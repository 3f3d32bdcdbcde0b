"""The aiohttp edge: requests in, replies out, bytes through. It parses nothing that `protocol` can parse."""

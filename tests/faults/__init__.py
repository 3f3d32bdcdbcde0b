"""The fault programme: what a server keeps when everything around it breaks."""

"""`doctor`: what a run needs of this machine, this repository and its host, looked at without touching any of it."""

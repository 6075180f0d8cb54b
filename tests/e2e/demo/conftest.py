collect_ignore = ["project"]  # its tests are the demo's material, run by its gates

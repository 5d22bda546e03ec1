"""Jobs and the places where they run, in a sandbox: this machine, or a cluster."""

"""Where jobs run: on this machine or on a cluster, in a sandbox."""

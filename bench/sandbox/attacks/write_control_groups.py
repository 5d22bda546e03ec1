"""Make a control group, as root may."""
#: depends
#: root

import os

root = next(path for path in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup") if os.path.isdir(path))
os.mkdir(root + "/sae-attack")
os.rmdir(root + "/sae-attack")

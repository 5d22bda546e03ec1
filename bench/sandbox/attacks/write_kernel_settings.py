"""Open a setting of the kernel for writing, as root may."""
#: root

open("/proc/sys/kernel/core_pattern", "a").close()

"""Read the machine's password file, as root may."""
#: root

assert open("/etc/shadow").read()

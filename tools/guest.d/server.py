"""What a guest needs from the server: the right to mount its volume."""


def allow_guest(volume, control):
    """Guests come from 127.0.0.1, from a port that is not privileged: that is how QEMU's user
    network connects; by default an export refuses it."""

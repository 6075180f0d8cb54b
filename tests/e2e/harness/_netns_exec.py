"""Child-side launcher: a private network namespace, a listening socket in it, then the program.

argv: CONTROL_FD WANT(netns|host) ENVIRONMENT_FILE -- PROGRAM ARGUMENTS…

Sends one message over CONTROL_FD, JSON {"netns": bool, "why": str}, with the listening socket attached,
waits for one byte, then becomes the program with the environment of the JSON file; "@PORT@" in it and in the
arguments is the socket's port. The namespace holds only `lo`: the program has no route off this machine.
"""

import ctypes
import fcntl
import json
import os
import socket
import struct
import sys

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def enter_namespace() -> str:
    """Why it could not be entered; "" when it was."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid = os.getuid()
    if libc.unshare(CLONE_NEWNET) != 0:
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
            return "unshare: " + os.strerror(ctypes.get_errno())
        with open("/proc/self/setgroups", "w") as file:
            file.write("deny")
        with open("/proc/self/uid_map", "w") as file:
            file.write(f"{uid} {uid} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
    return ""


def main() -> None:
    control_fd, want, environment_file = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    program = sys.argv[5:]
    why = "not asked for"
    if want == "netns":
        try:
            why = enter_namespace()
        except OSError as error:
            why = str(error)
    control = socket.socket(fileno=control_fd)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    port = str(listener.getsockname()[1])
    report = json.dumps({"netns": not why, "why": why})
    socket.send_fds(control, [report.encode()], [listener.fileno()])
    if control.recv(1) != b"g":
        sys.exit(97)
    control.close()
    listener.close()
    with open(environment_file, encoding="utf-8") as file:
        environment = {name: value.replace("@PORT@", port) for name, value in json.load(file).items()}
    program = [argument.replace("@PORT@", port) for argument in program]
    try:
        os.execve(program[0], program, environment)
    except OSError as error:
        sys.exit(f"exec {program[0]}: {error}")


main()

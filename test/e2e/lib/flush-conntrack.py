"""Forgets every connection that the kernel tracks in this network namespace, like `conntrack --flush`."""
import socket
import struct

NETLINK_NETFILTER = 12
CTNL_MSG_CT_DELETE = 1 << 8 | 2
NLM_F_REQUEST_ACK = 5

with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as s:
    s.bind((0, 0))
    s.send(struct.pack("=IHHII", 20, CTNL_MSG_CT_DELETE, NLM_F_REQUEST_ACK, 1, 0) + bytes(4))
    error = struct.unpack_from("=i", s.recv(4096), 16)[0]
    if error != 0:
        raise OSError(-error, "the kernel refuses")

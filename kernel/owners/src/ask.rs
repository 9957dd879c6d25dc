//! Which socket a packet goes to: asked of the kernel's own look-up (`sock_diag`), off the path of packets.

use std::io;
use std::net::SocketAddr;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

/// A packet for this node, as far as it says which socket it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// TCP or UDP.
    pub protocol: u8,
    /// Where it comes from.
    pub remote: SocketAddr,
    /// Where it goes.
    pub local: SocketAddr,
    /// Index of the interface.
    pub ifindex: u32,
}

/// Asks for sockets of the network namespace in which it was made.
#[derive(Debug)]
pub struct Sockets(Socket);

impl Sockets {
    /// Ready to ask.
    ///
    /// # Errors
    /// When the kernel has no such netlink family.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&netlink_sys::SocketAddr::new(0, 0))?;
        // The kernel has answered when it has taken a question: an answer that is not there will never be.
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Cookie of the socket that would get a packet: a connected one, else one that listens; none when nobody would.
    pub fn cookie(&self, arrival: &Arrival) -> Option<u64> {
        let Arrival { protocol, remote, local, ifindex } = *arrival;
        // Of UDP the kernel takes the ends the other way round, since ever (`net/ipv4/udp_diag.c`).
        let (source, destination) = match protocol {
            IPPROTO_TCP => (local, remote),
            IPPROTO_UDP => (remote, local),
            _ => return None,
        };
        let request = InetRequest {
            family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
            protocol,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all(),
            socket_id: SocketId {
                source_port: source.port(),
                destination_port: destination.port(),
                source_address: source.ip(),
                destination_address: destination.ip(),
                interface_id: ifindex,
                cookie: [0xff; 8],
            },
        };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.0.send(&bytes, 0).ok()?;
        // There is one answer: the socket, or an error.
        let (answer, _) = self.0.recv_from_full().ok()?;
        match NetlinkMessage::<SockDiagMessage>::deserialize(&answer).ok()?.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
                let cookie = u64::from_ne_bytes(found.header.socket_id.cookie);
                (cookie != 0).then_some(cookie)
            }
            _ => None,
        }
    }
}

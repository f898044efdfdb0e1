//! TCP sockets for measuring: cubic on each, no Nagle delay.
//!
//! A machine whose default is bbr paces its own loopback, and everything then looks equally slow. Only the sender's algorithm
//! matters, so what a broker sends is governed by its own sockets: [`system_congestion_control`] tells what they have.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use rustix::net::sockopt;

const CONGESTION_CONTROL: &str = "cubic";

/// Connects to `address` with cubic and without delay.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    tune(&stream)?;
    Ok(stream)
}

/// A sender and a receiver, joined over the loopback device.
pub(crate) fn loopback_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let sender = connect(listener.local_addr()?)?;
    let (receiver, _) = listener.accept()?;
    tune(&receiver)?;
    Ok((sender, receiver))
}

/// Gives an accepted socket what [`connect`] gives: cubic and no delay.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_tcp_congestion(stream, CONGESTION_CONTROL).map_err(|error| {
        io::Error::other(format!("this machine does not let a socket use {CONGESTION_CONTROL}: {error}"))
    })
}

/// The congestion control that sockets of this machine get unless they choose.
pub(crate) fn system_congestion_control() -> String {
    let name = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    name.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_pair_use_cubic() {
        let (sender, receiver) = loopback_pair().unwrap();
        for stream in [&sender, &receiver] {
            assert_eq!(sockopt::tcp_congestion(stream).unwrap(), CONGESTION_CONTROL);
        }
    }
}

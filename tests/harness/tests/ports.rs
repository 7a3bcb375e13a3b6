//! A free port is free for whoever asks for it, and for no one else.

use anyhow::{Context, Result};
use harness::free_port;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use tokio::net::TcpSocket;

#[test]
fn a_free_port_is_kept_for_whoever_asks_for_it() -> Result<()> {
    let port = free_port()?;
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.kind());
    assert!(matches!(refused, Err(ErrorKind::ConnectionRefused)), "nobody listens: {refused:?}");
    let by_chance = TcpSocket::new_v4()?.bind((Ipv4Addr::LOCALHOST, port).into());
    let kind = by_chance.map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::AddrInUse), "the kernel holds it taken");
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let first: u16 = range.split_whitespace().next().context("a port")?.parse()?;
    assert!(port < first, "UDP can't be held: {port} is none that the kernel gives by chance");
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    TcpStream::connect(server.local_addr()?)?;
    Ok(())
}

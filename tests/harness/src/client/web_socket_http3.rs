//! A WebSocket over HTTP/3 (RFC 9220): an extended CONNECT in a stream of QUIC. Its frames are laid out
//! here: the client library knows no such protocol. No dynamic table, no second request.

use super::http3::endpoint;
use super::web_socket::exchange;
use crate::tls::Certificate;
use anyhow::{Context, Result, ensure};
use quinn::{RecvStream, SendStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Types of frames (RFC 9114, section 7.2).
const DATA: u64 = 0;
const HEADERS: u64 = 1;
/// A control stream, with settings that say nothing (sections 6.2.1 and 7.2.4).
const CONTROL: [u8; 3] = [0, 4, 0];
/// No dynamic table is referred to (RFC 9204, section 4.5.1).
const NO_DYNAMIC_TABLE: [u8; 2] = [0, 0];
/// `:status: 200`, entry 25 of the static table (RFC 9204, appendix A).
const STATUS_200: u8 = 0xd9;

/// Opens a WebSocket over HTTP/3, exchanges a message and closes it.
///
/// # Errors
/// The proxy does not accept it, or the echo does not come back.
pub async fn web_socket_http3(certificate: &Certificate, port: u16, path: &str) -> Result<()> {
    let endpoint = endpoint(certificate)?;
    let connection = endpoint.connect(([127, 0, 0, 1], port).into(), "localhost")?.await?;
    let mut control = connection.open_uni().await?;
    control.write_all(&CONTROL).await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    let authority = format!("localhost:{port}");
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", &authority),
        (":path", path),
        ("sec-websocket-version", "13"),
    ];
    send.write_all(&frame(HEADERS, &section(&fields)?)?).await?;
    let (kind, answer) = read_frame(&mut receive).await?.context("no answer")?;
    ensure!(kind == HEADERS, "a frame of type {kind} before the answer's headers");
    let status = answer.strip_prefix(&NO_DYNAMIC_TABLE).and_then(<[u8]>::first);
    ensure!(status == Some(&STATUS_200), "the proxy answered {answer:?}");
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (read, write) = tokio::io::split(theirs);
    tokio::spawn(forward(read, send));
    tokio::spawn(backward(receive, write));
    exchange(WebSocketStream::from_raw_socket(ours, Role::Client, None).await).await?;
    connection.close(0_u8.into(), b"");
    Ok(())
}

async fn forward(mut from: ReadHalf<DuplexStream>, mut to: SendStream) -> Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(to.finish()?),
            length => to.write_all(&frame(DATA, &buffer[..length])?).await?,
        }
    }
}

async fn backward(mut from: RecvStream, mut to: WriteHalf<DuplexStream>) -> Result<()> {
    // A proxy whose upstream is gone resets the stream: that is an end, too.
    while let Ok(Some((kind, content))) = read_frame(&mut from).await {
        if kind == DATA {
            to.write_all(&content).await?;
        }
    }
    Ok(to.shutdown().await?)
}

/// A field section of literals (RFC 9204, section 4.5.6).
fn section(fields: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut bytes = NO_DYNAMIC_TABLE.to_vec();
    for (name, value) in fields {
        put_prefixed(&mut bytes, 0x20, 7, name.len())?;
        bytes.extend_from_slice(name.as_bytes());
        put_prefixed(&mut bytes, 0, 127, value.len())?;
        bytes.extend_from_slice(value.as_bytes());
    }
    Ok(bytes)
}

/// An integer after a prefix whose bits hold up to `most` (RFC 7541, section 5.1); short ones only.
fn put_prefixed(bytes: &mut Vec<u8>, prefix: u8, most: u8, number: usize) -> Result<()> {
    let number = u8::try_from(number)?;
    match number.checked_sub(most) {
        None => bytes.push(prefix | number),
        Some(rest) => {
            ensure!(rest < 128, "{number} is too long for two bytes");
            bytes.extend([prefix | most, rest]);
        }
    }
    Ok(())
}

fn frame(kind: u64, content: &[u8]) -> Result<Vec<u8>> {
    // Two bytes for the length: up to 2^14 - 1 (RFC 9000, section 16).
    let length = u16::try_from(content.len())?;
    ensure!(length < 1 << 14, "{length} bytes are too long for a frame");
    let mut bytes = vec![u8::try_from(kind)?];
    bytes.extend((length | 1 << 14).to_be_bytes());
    bytes.extend_from_slice(content);
    Ok(bytes)
}

/// The type and the content of the next frame; `None` at the end.
async fn read_frame(stream: &mut RecvStream) -> Result<Option<(u64, Vec<u8>)>> {
    let Some(kind) = read_varint(stream).await? else { return Ok(None) };
    let length = read_varint(stream).await?.context("a frame without a length")?;
    let mut content = vec![0; usize::try_from(length)?];
    stream.read_exact(&mut content).await?;
    Ok(Some((kind, content)))
}

/// RFC 9000, section 16.
async fn read_varint(stream: &mut RecvStream) -> Result<Option<u64>> {
    let mut first = [0];
    if stream.read(&mut first).await?.is_none() {
        return Ok(None);
    }
    let mut rest = vec![0; (1 << (first[0] >> 6)) - 1];
    stream.read_exact(&mut rest).await?;
    let start = u64::from(first[0] & 0x3f);
    Ok(Some(rest.into_iter().fold(start, |number, byte| number << 8 | u64::from(byte))))
}

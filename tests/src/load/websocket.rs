//! As much of the WebSocket protocol (RFC 6455) as an echo needs: whole messages, no extension.

use std::io::{Error, ErrorKind, Result};

use sha1_smol::Sha1;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::git::base64;

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
/// The endpoint goes away, as a server does that is stopped.
pub const GOING_AWAY: u16 = 1001;

const LARGEST: u64 = 1 << 20;
const MASKED: u8 = 0x80;
const LAST: u8 = 0x80;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// What a server answers to the client's `Sec-WebSocket-Key`.
#[must_use]
pub fn accept(key: &str) -> String {
    let digest = Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")).digest();
    base64(&digest.bytes())
}

#[must_use]
pub fn new_key() -> String {
    base64(&rand::random::<[u8; 16]>())
}

/// The next frame; `None` when the other side ended the connection between two.
///
/// # Errors
/// When the connection fails or ends within a frame, or the frame is none that [`write`] makes.
pub async fn read(io: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>> {
    let mut head = [0; 2];
    if io.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    io.read_exact(&mut head[1..]).await?;
    if head[0] & !0x0f != LAST {
        return Err(Error::new(ErrorKind::InvalidData, "a part of a message, or an extension"));
    }
    let length = match head[1] & !MASKED {
        126 => io.read_u16().await?.into(),
        127 => io.read_u64().await?,
        short => short.into(),
    };
    if length > LARGEST {
        return Err(Error::new(ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let mut mask = [0; 4];
    if head[1] & MASKED != 0 {
        io.read_exact(&mut mask).await?;
    }
    let length = usize::try_from(length).map_err(|_| ErrorKind::InvalidData)?;
    let mut payload = vec![0; length];
    io.read_exact(&mut payload).await?;
    apply(mask, &mut payload);
    Ok(Some(Frame { opcode: head[0] & 0x0f, payload }))
}

/// A client masks what it sends, a server does not.
///
/// # Errors
/// When the connection fails.
pub async fn write(io: &mut (impl AsyncWrite + Unpin), frame: &Frame, mask: Option<[u8; 4]>) -> Result<()> {
    let length = frame.payload.len();
    let bit = if mask.is_some() { MASKED } else { 0 };
    let mut bytes = vec![LAST | frame.opcode];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => bytes.push(bit | short),
        (_, Ok(middle)) => {
            bytes.push(bit | 126);
            bytes.extend(middle.to_be_bytes());
        }
        _ => {
            bytes.push(bit | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    let mask = mask.inspect(|mask| bytes.extend(mask)).unwrap_or_default();
    let start = bytes.len();
    bytes.extend(&frame.payload);
    apply(mask, &mut bytes[start..]);
    io.write_all(&bytes).await?;
    io.flush().await
}

fn apply(mask: [u8; 4], payload: &mut [u8]) {
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_is_the_one_of_the_standard() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn frames_of_every_length_arrive_as_they_were_sent() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            for mask in [None, Some([1, 2, 3, 250])] {
                let (mut near, mut far) = tokio::io::duplex(200_000);
                let frame = Frame { opcode: BINARY, payload: (0..length).map(|at| at as u8).collect() };
                write(&mut near, &frame, mask).await.unwrap();
                assert_eq!(read(&mut far).await.unwrap(), Some(frame));
                drop(near);
                assert_eq!(read(&mut far).await.unwrap(), None);
            }
        }
    }

    #[tokio::test]
    async fn the_frame_is_the_one_of_the_standard() {
        let mut bytes = Vec::new();
        let frame = Frame { opcode: TEXT, payload: b"Hello".to_vec() };
        write(&mut bytes, &frame, Some([0x37, 0xfa, 0x21, 0x3d])).await.unwrap();
        assert_eq!(bytes, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[tokio::test]
    async fn an_end_within_a_frame_is_an_error() {
        let error = read(&mut &[0x81, 0x05, b'H'][..]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
}

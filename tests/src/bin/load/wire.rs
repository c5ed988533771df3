//! A socket that remembers what happened to it, so that a failure can be told by what the kernel said and not by how a
//! library words it.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What happened since the request began.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub written: usize,
    pub read: usize,
    /// The other side has ended the connection in order.
    pub end: bool,
    pub error: Option<(ErrorKind, String)>,
}

impl Seen {
    fn note(&mut self, error: &Error) {
        self.error.get_or_insert_with(|| (error.kind(), error.to_string()));
    }
}

pub struct Wire {
    stream: TcpStream,
    seen: Watch,
}

#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Seen>>);

impl Watch {
    pub fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is there to read: 0 at the end of the stream, `EAGAIN` for nothing yet.
pub fn peek(stream: &TcpStream) -> nix::Result<usize> {
    recv(stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT)
}

impl Wire {
    pub fn new(stream: TcpStream) -> (Self, Watch) {
        let seen = Watch::default();
        (Self { stream, seen: seen.clone() }, seen)
    }

    /// Asks the kernel, not the runtime, which learns of an end only when it polls next.
    fn look(&self) -> Result<()> {
        match peek(&self.stream) {
            Ok(0) => {
                self.seen.with(|seen| seen.end = true);
                Err(Error::new(ErrorKind::NotConnected, "the server has ended the connection"))
            }
            // An answer before the question; the reader will see what it is.
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Err(errno) => {
                let error = Error::from(errno);
                self.seen.with(|seen| seen.note(&error));
                Err(error)
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let read = std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        self.seen.with(|seen| match &read {
            Ok(()) => {
                let length = buffer.filled().len() - before;
                seen.read += length;
                seen.end |= length == 0 && buffer.remaining() > 0;
            }
            Err(error) => seen.note(error),
        });
        Poll::Ready(read)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.seen.with(|seen| seen.written == 0) {
            self.look()?;
        }
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.seen.with(|seen| match &written {
            Ok(length) => seen.written += length,
            Err(error) => seen.note(error),
        });
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

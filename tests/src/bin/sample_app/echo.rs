//! Sends back what it gets over a WebSocket, until one of the two has enough.

use std::time::Duration;

use deploymind_tests::load::websocket::{BINARY, CLOSE, Frame, GOING_AWAY, PING, PONG, TEXT, read, write};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// For the client's answer to the farewell.
const FAREWELL: Duration = Duration::from_secs(1);

pub async fn run(upgrade: OnUpgrade, leaving: CancellationToken) {
    if let Ok(upgraded) = upgrade.await {
        // The client has gone: nobody is left to tell.
        drop(echo(&mut TokioIo::new(upgraded), &leaving).await);
    }
}

async fn echo(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    leaving: &CancellationToken,
) -> std::io::Result<()> {
    loop {
        // What has arrived is sent back before the farewell.
        let frame = tokio::select! {
            biased;
            frame = read(io) => frame?,
            () = leaving.cancelled() => break,
        };
        let Some(frame) = frame else {
            return io.shutdown().await;
        };
        match frame.opcode {
            TEXT | BINARY => write(io, &frame, None).await?,
            PING => write(io, &Frame { opcode: PONG, payload: frame.payload }, None).await?,
            CLOSE => {
                write(io, &frame, None).await?;
                return io.shutdown().await;
            }
            _ => {}
        }
    }
    let farewell = Frame { opcode: CLOSE, payload: GOING_AWAY.to_be_bytes().to_vec() };
    write(io, &farewell, None).await?;
    let mut rest = [0; 1024];
    drop(timeout(FAREWELL, async { while io.read(&mut rest).await.is_ok_and(|length| length > 0) {} }).await);
    io.shutdown().await
}

//! A WebSocket that is kept open: something is sent regularly, and has to come back.

use std::sync::Arc;
use std::time::Duration;

use deploymind_tests::load::FailureKind;
use deploymind_tests::load::websocket::{BINARY, CLOSE, Frame, PING, PONG, accept, new_key, read, write};
use nix::errno::Errno;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::connection::{Failure, connect, kind_of, timed_out};
use crate::tally::Tally;
use crate::target::Target;
use crate::wire;

const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_HEAD: usize = 16 << 10;
const MESSAGE: usize = 64;
const A_MOMENT: Duration = Duration::from_millis(1);
/// The code of a close that has no other reason.
const NORMAL: u16 = 1000;

pub async fn run(target: Arc<Target>, tally: Arc<Tally>, stop: CancellationToken) {
    let mut is_first = true;
    while !stop.is_cancelled() {
        let opened = timeout(target.timeout, open(&target)).await;
        let stream = match opened.unwrap_or_else(|_| Err(timed_out(target.timeout))) {
            Ok(stream) => stream,
            Err(failure) => {
                tally.failed(failure);
                sleep(PAUSE).await;
                continue;
            }
        };
        tally.opened();
        if !std::mem::take(&mut is_first) {
            tally.reopened();
        }
        if let Err(failure) = talk(stream, &target, &tally, &stop).await {
            tally.failed(failure);
            // What is opened next is not instead of one that ended in order.
            is_first = true;
        }
    }
}

async fn open(target: &Target) -> Result<TcpStream, Failure> {
    let mut stream = connect(target).await?;
    let key = new_key();
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n",
        target.host
    );
    stream.write_all(head.as_bytes()).await.map_err(|error| broken(&error))?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") && answer.len() < LONGEST_HEAD {
        answer.push(stream.read_u8().await.map_err(|error| broken(&error))?);
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).unwrap_or_default();
    if status != "101" {
        let text = format!("WebSocket: {}", answer.lines().next().unwrap_or_default());
        return Err(Failure::new(FailureKind::Status, text));
    }
    if !answer.contains(&accept(&key)) {
        let text = "WebSocket: the answer does not fit the key".to_owned();
        return Err(Failure::new(FailureKind::WrongAnswer, text));
    }
    Ok(stream)
}

/// Until the server ends it in order, or we do.
async fn talk(
    stream: TcpStream,
    target: &Target,
    tally: &Tally,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let (reader, mut writer) = stream.into_split();
    let (sender, mut frames) = mpsc::channel(8);
    let mut reading = JoinSet::new();
    reading.spawn(forward(reader, sender));
    let mut due = Instant::now();
    loop {
        tokio::select! {
            biased;
            unasked = message(&mut frames, &mut writer) => return match unasked? {
                None => Ok(()),
                Some(payload) => Err(stranger(&payload)),
            },
            () = stop.cancelled() => {
                send(&mut writer, CLOSE, &NORMAL.to_be_bytes()).await?;
                return Ok(());
            }
            () = sleep_until(due) => {}
        }
        if wire::peek(writer.as_ref()) != Err(Errno::EAGAIN) {
            // Most likely the end: that is to be read before anything is sent that would be lost.
            due = Instant::now() + A_MOMENT;
            continue;
        }
        due += target.echo_every;
        let payload = rand::random::<[u8; MESSAGE]>();
        send(&mut writer, BINARY, &payload).await?;
        match timeout(target.timeout, message(&mut frames, &mut writer)).await {
            Ok(echo) => match echo? {
                Some(echo) if echo == payload => tally.echoed(),
                Some(other) => return Err(stranger(&other)),
                None => return Err(lost("the server ended it")),
            },
            Err(_) => return Err(lost(&format!("{:?} went by", target.timeout))),
        }
    }
}

/// Apart, because a frame that has begun must be read to its end.
async fn forward(mut reader: OwnedReadHalf, frames: mpsc::Sender<std::io::Result<Frame>>) {
    while let Some(frame) = read(&mut reader).await.transpose() {
        let is_over = frame.is_err();
        if frames.send(frame).await.is_err() || is_over {
            return;
        }
    }
}

/// The next message; `None` when the server has ended it in order.
async fn message(
    frames: &mut mpsc::Receiver<std::io::Result<Frame>>,
    writer: &mut OwnedWriteHalf,
) -> Result<Option<Vec<u8>>, Failure> {
    while let Some(frame) = frames.recv().await {
        let Frame { opcode, payload } = frame.map_err(|error| broken(&error))?;
        match opcode {
            CLOSE => {
                // Ended in order, whether or not our answer still gets there.
                drop(send(writer, CLOSE, &payload).await);
                return Ok(None);
            }
            PING => send(writer, PONG, &payload).await?,
            PONG => {}
            _ => return Ok(Some(payload)),
        }
    }
    Ok(None)
}

async fn send(writer: &mut OwnedWriteHalf, opcode: u8, payload: &[u8]) -> Result<(), Failure> {
    let frame = Frame { opcode, payload: payload.to_vec() };
    write(writer, &frame, Some(rand::random())).await.map_err(|error| broken(&error))
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::new(kind_of(error.kind()), format!("WebSocket: {error}"))
}

fn lost(what: &str) -> Failure {
    Failure::new(FailureKind::WsLost, format!("WebSocket: {what} before the echo"))
}

fn stranger(payload: &[u8]) -> Failure {
    let text = format!("WebSocket: {} bytes that were not sent", payload.len());
    Failure::new(FailureKind::WrongAnswer, text)
}

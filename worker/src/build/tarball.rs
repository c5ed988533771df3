//! The context as a stream: a tar that is written while it is sent, and never exists as a whole.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;
use deploymind_shared::error::{Code, Error};
use futures::Stream;
use nix::libc;
use tar::{EntryType, Header};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::context::{Context, Item, Kind, shown};

const CHUNK: usize = 128 * 1024;
/// Chunks between the reader of the disk and the connection.
const CHUNKS: usize = 8;
/// 2 January 1980 for all: the time a file was checked out must not change the image, and archives made in a build
/// (Python's wheels among them) refuse times before 1980.
const MTIME: u64 = 315_619_200;

/// The writer of a stream. Ends early when the stream is dropped.
pub(super) struct Writer(JoinHandle<Result<(), Error>>);

impl Writer {
    /// # Errors
    /// What went wrong with the tree while it was sent.
    pub(super) async fn finish(self) -> Result<(), Error> {
        self.0.await.unwrap_or_else(|panicked| {
            Err(Error::new(Code::JobPanicked, "the writer of the build context panicked").because(panicked))
        })
    }
}

pub(super) fn stream(context: Context) -> (impl Stream<Item = io::Result<Bytes>> + Send + 'static, Writer) {
    let (sender, mut receiver) = mpsc::channel(CHUNKS);
    let writer = tokio::task::spawn_blocking(move || {
        let failed = sender.clone();
        write(&context, sender).inspect_err(|error| {
            // Breaks the request off, so that half a tree is never built.
            let _gone = failed.blocking_send(Err(io::Error::other(error.to_string()))).is_err();
        })
    });
    (futures::stream::poll_fn(move |cx| receiver.poll_recv(cx)), Writer(writer))
}

fn write(context: &Context, sender: mpsc::Sender<io::Result<Bytes>>) -> Result<(), Error> {
    let mut tar = tar::Builder::new(Chunks { sender, held: Vec::with_capacity(CHUNK) });
    for item in &context.items {
        append(&mut tar, &context.root, item).map_err(|error| changed(item, error))?;
    }
    tar.into_inner().and_then(|mut chunks| chunks.flush()).map_err(|error| {
        Error::new(Code::EngineUnavailable, "the Docker engine stopped taking the build context")
            .because(error)
    })
}

fn append(tar: &mut tar::Builder<Chunks>, root: &Path, item: &Item) -> io::Result<()> {
    let path = Path::new(OsStr::from_bytes(&item.path));
    let mut header = Header::new_gnu();
    header.set_mtime(MTIME);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    match &item.kind {
        Kind::Folder => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
            tar.append_data(&mut header, path, io::empty())
        }
        Kind::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            tar.append_link(&mut header, path, target)
        }
        Kind::Text(text) => {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(0o644);
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, path, text.as_slice())
        }
        Kind::File { size, executable } => {
            // Not a pipe that would block, not a link: neither was here when the tree was looked at.
            let file = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(root.join(path))?;
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("no longer a file"));
            }
            header.set_entry_type(EntryType::Regular);
            header.set_mode(if *executable { 0o755 } else { 0o644 });
            header.set_size(*size);
            tar.append_data(&mut header, path, Exactly { file, left: *size })
        }
    }
}

fn changed(item: &Item, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Error::new(Code::EngineUnavailable, "the Docker engine stopped taking the build context")
            .because(error);
    }
    Error::new(
        Code::WorkspaceFailed,
        format!(
            "`{}` of the working tree changed or cannot be read while it is sent to the engine",
            shown(&item.path)
        ),
    )
    .because(error)
}

/// A file at the length its header promises, whatever it has become since.
struct Exactly<R> {
    file: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let got = self.file.read(&mut buffer[..want])?;
        if got == 0 && want > 0 {
            return Err(io::Error::other("shorter than it was"));
        }
        self.left -= got as u64;
        Ok(got)
    }
}

/// Blocks while the connection is behind: that is the back-pressure.
struct Chunks {
    sender: mpsc::Sender<io::Result<Bytes>>,
    held: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.held, Vec::with_capacity(CHUNK));
        self.sender
            .blocking_send(Ok(full.into()))
            .map_err(|_gone| io::Error::new(io::ErrorKind::BrokenPipe, "the stream was dropped"))
    }
}

//! Reads a key file, and refuses one that others can read.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{Code, Error};

/// Bytes of a key file. 32 keys with comments are a few KiB.
const SIZE_MAX: u64 = 64 * 1024;

pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, Error> {
    let failed = |source: std::io::Error| {
        let sentence =
            format!("the key file {} cannot be read: check the path and its owner", path.display());
        Error::new(Code::SecretKey, sentence).context("read key file").because(source)
    };
    // Before it is opened, because opening a pipe waits for its other end; and after, because it may be another by then.
    check(path, &std::fs::metadata(path).map_err(failed)?)?;
    let file = File::open(path).map_err(failed)?;
    check(path, &file.metadata().map_err(failed)?)?;
    let mut text = Zeroizing::new(String::with_capacity(SIZE_MAX as usize));
    match file.take(SIZE_MAX + 1).read_to_string(&mut text) {
        Ok(read) if read as u64 > SIZE_MAX => Err(too_large(path)),
        Ok(_) => Ok(text),
        Err(source) => Err(failed(source)),
    }
}

fn check(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    if !metadata.is_file() {
        return Err(refused(path, "is not a regular file: name a file that holds one id:base64 a line"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if metadata.permissions().mode() & 0o077 != 0 {
            let shown = path.display();
            return Err(refused(path, &format!("can be read by others: run `chmod 600 {shown}`")));
        }
    }
    if metadata.len() > SIZE_MAX {
        return Err(too_large(path));
    }
    Ok(())
}

fn too_large(path: &Path) -> Error {
    refused(path, &format!("is larger than {} KiB: it should hold keys only", SIZE_MAX / 1024))
}

fn refused(path: &Path, problem: &str) -> Error {
    Error::new(Code::SecretKey, format!("the key file {} {problem}", path.display()))
}

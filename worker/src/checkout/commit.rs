//! Who made a commit, when, and what they said about it.

use std::path::Path;

use deploymind_shared::clock::Timestamp;
use deploymind_shared::retry::Stop;

use super::child::{Git, Run};

/// More than the record keeps, so that what must be hidden is whole when it is looked for.
const MESSAGE_LONGEST: usize = 4_000;
const AUTHOR_LONGEST: usize = 200;

pub(super) struct Description {
    pub message: String,
    pub author: String,
    pub committed_at: Timestamp,
}

pub(super) async fn describe(git: &Git<'_>, store: &Path, commit: &str) -> Result<Description, Stop> {
    // Cut by git, so that a message of a gigabyte is not read; %an before it, as its length is ours to cut.
    let format = "--format=%ct%x00%<(250,trunc)%an%x00%B";
    let args = ["log", "-1", "--no-show-signature", "--no-color", "--encoding=UTF-8", format, commit];
    let mut text = Vec::new();
    let ended = git
        .run(Run::new(&args).env("GIT_DIR", store), |piece| {
            text.extend_from_slice(piece);
            if text.len() > 16 * 1024 {
                std::ops::ControlFlow::Break(())
            } else {
                std::ops::ControlFlow::Continue(())
            }
        })
        .await?;
    if !ended.success && !ended.satisfied {
        return Err(super::explain::local(&ended).into());
    }
    Ok(parse(&text))
}

fn parse(text: &[u8]) -> Description {
    let text = String::from_utf8_lossy(text);
    let mut parts = text.splitn(3, '\0');
    let seconds = parts.next().and_then(|seconds| seconds.trim().parse().ok()).unwrap_or_default();
    let author = parts.next().unwrap_or_default().trim();
    let message = parts.next().unwrap_or_default().trim();
    let tidy = |c: char| if c.is_control() { ' ' } else { c };
    Description {
        committed_at: Timestamp::from_timestamp(seconds, 0).unwrap_or_default(),
        author: author.chars().map(tidy).take(AUTHOR_LONGEST).collect(),
        message: message.chars().map(|c| if c == '\n' { c } else { tidy(c) }).take(MESSAGE_LONGEST).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_cut_and_has_no_control_characters() {
        let long = format!("1700000000\0Te\u{1b}[1mst\0first\n\nsecond\u{7}{}\n", "é".repeat(5_000));
        let described = parse(long.as_bytes());
        assert_eq!(described.committed_at.timestamp(), 1_700_000_000);
        assert_eq!(described.author, "Te [1mst");
        assert!(described.message.starts_with("first\n\nsecond é"));
        assert_eq!(described.message.chars().count(), 4_000);
        assert_eq!(parse(b"99999999999999999999\0\0").committed_at.timestamp(), 0);
    }
}

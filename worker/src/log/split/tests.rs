use proptest::prelude::*;

use super::*;

fn lines_of(splitter: LineSplitter, chunks: &[&[u8]]) -> Vec<String> {
    let (mut splitter, mut lines) = (splitter, Vec::new());
    for chunk in chunks {
        splitter.push(chunk, |line| lines.push(line));
    }
    splitter.finish(|line| lines.push(line));
    lines
}

fn split(text: &str) -> Vec<String> {
    lines_of(LineSplitter::new(), &[text.as_bytes()])
}

/// As the module says it, over the whole text at once.
fn reference(bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let parts: Vec<&[u8]> = bytes.split(|c| *c == b'\n').collect();
    for (index, part) in parts.iter().enumerate() {
        let last = index == parts.len() - 1;
        let mut body = *part;
        while body.ends_with(b"\r") {
            body = &body[..body.len() - 1];
        }
        let mut states: Vec<String> =
            body.split(|c| *c == b'\r').map(|state| String::from_utf8_lossy(state).into_owned()).collect();
        let end = states.pop().unwrap_or_default();
        states.retain(|state| !is_blank(state));
        if states.is_empty() {
            if !(last && end.is_empty()) {
                lines.push(end);
            }
            continue;
        }
        if !is_blank(&end) {
            states.push(end);
        }
        for pair in 0..states.len() {
            if states.get(pair + 1).is_none_or(|next| !redraws(&states[pair], next)) {
                lines.push(states[pair].clone());
            }
        }
    }
    lines
}

#[test]
fn every_kind_of_line_break_ends_a_line() {
    assert_eq!(split("a\nb\r\nc\r\r\n\nd"), ["a", "b", "c", "", "d"]);
    assert!(split("").is_empty());
    assert_eq!(split("a\r"), ["a"]);
}

#[test]
fn a_progress_bar_leaves_its_last_state() {
    assert_eq!(split("Receiving: 1%\rReceiving: 50%\rReceiving: 100%, done.\n"), ["Receiving: 100%, done."]);
    assert_eq!(split("10%\r20%\r30%\n"), ["30%"]);
    assert_eq!(split("done 100%\r          \rnext\n"), ["done 100%", "next"]);
    assert_eq!(split("done\r\x1b[K\n"), ["done"]);
}

#[test]
fn a_redrawn_line_that_says_something_else_is_kept() {
    assert_eq!(split("compiling a\rlinking b\n"), ["compiling a", "linking b"]);
    assert_eq!(split("fetch 1%: error: no space\rfetch 2%\n"), ["fetch 1%: error: no space", "fetch 2%"]);
}

#[test]
fn bytes_that_are_no_text_are_shown_as_such() {
    assert_eq!(lines_of(LineSplitter::new(), &[b"a\xffb\xe2\x82", b"\xac\n"]), ["a\u{fffd}b€"]);
    assert_eq!(lines_of(LineSplitter::new(), &[b"\xe2\x82"]), ["\u{fffd}"]);
}

#[test]
fn a_line_without_end_goes_on_marked_and_whole() {
    let text = "ab€".repeat(1_000);
    let lines = lines_of(LineSplitter::new().with_cap(100), &[text.as_bytes()]);
    assert!(lines.len() > 10);
    let joined: String = lines.iter().map(|line| line.strip_prefix(CONTINUED).unwrap_or(line)).collect();
    assert_eq!(joined, text);
    assert!(lines[1..].iter().all(|line| line.starts_with(CONTINUED) && line.len() <= 104));
}

#[test]
fn a_stream_without_line_breaks_takes_no_more_than_the_cap() {
    let mut splitter = LineSplitter::new().hiding(Arc::new(Redactor::shapes_only()));
    let mut bytes = 0;
    for chunk in
        [b"x".repeat(100_000), b"\x1b[".repeat(50_000), b"\xe2\x82".repeat(50_000), b"\r \r".repeat(50_000)]
    {
        splitter.push(&chunk, |line| bytes += line.len());
        assert!(splitter.buffer.capacity() <= 8 * LINE_BYTES, "{}", splitter.buffer.capacity());
    }
    assert!(bytes > 100_000);
}

fn chunked(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect()
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(b"\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"10%".to_vec()),
        Just(b"error".to_vec()),
        Just("€é".as_bytes().to_vec()),
        Just(b"\x1b[2K".to_vec()),
        any::<Vec<u8>>(),
        "[a-z ]{0,6}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn chunks_make_no_difference(bytes in stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let chunks = chunked(&bytes, &cuts);
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(lines_of(LineSplitter::new(), &chunks), reference(&bytes));
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_secret_survives_a_cut(
        secret in "[a-zA-Z0-9+/=&' é$]{8,60}",
        before in 0usize..3_000,
        colours in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let redactor = Arc::new(Redactor::new([("NAME", &secret)]).expect("small"));
        prop_assume!(redactor.exposed().is_empty());
        let told = if colours {
            secret.chars().map(|c| format!("\x1b[3{}m{c}", before % 8)).collect()
        } else {
            secret.clone()
        };
        let text = format!("{}{told}{}", "-".repeat(before), "~".repeat(2_000));
        let chunks = chunked(text.as_bytes(), &cuts);
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let splitter = LineSplitter::new().hiding(Arc::clone(&redactor)).with_cap(1_600);
        let shown: String = lines_of(splitter, &chunks)
            .iter()
            .map(|line| {
                let line = sanitize(line.strip_prefix(CONTINUED).unwrap_or(line)).into_owned();
                redactor.redact_text(&line).into_owned()
            })
            .collect();
        prop_assert!(!shown.contains(&secret), "{shown}");
        prop_assert!(shown.contains("[REDACTED:NAME]"), "{shown}");
        prop_assert_eq!(shown.matches('~').count(), 2_000);
        prop_assert_eq!(shown.matches('-').count(), before);
    }
}

use super::*;

#[test]
fn sizes_are_said_in_words() {
    assert_eq!(size_in_words(0), "0 bytes");
    assert_eq!(size_in_words(1_536), "1.5 KiB");
    assert_eq!(size_in_words(20 << 30), "20.0 GiB");
    assert_eq!(size_in_words(u64::MAX), "17179869183.9 GiB");
}

#[test]
fn paths_are_shown_without_what_a_terminal_obeys() {
    assert_eq!(shown("caf\u{e9}/x".as_bytes()), "caf\u{e9}/x");
    assert_eq!(shown(b"a\x1b[2Jb"), "a\\u{1b}[2Jb");
    assert_eq!(shown(b"a\xffb"), "a\\xffb");
    assert_eq!(shown(&[b'x'; 500]).len(), 203);
}

#[test]
fn parts_that_git_takes_for_its_own_are_known() {
    for part in [&b".git"[..], b".GIT", b".gIt", b"..", b".", b""] {
        assert!(is_dot_git(part));
    }
    for part in [&b".github"[..], b".gitignore", b"git", b"..."] {
        assert!(!is_dot_git(part));
    }
}

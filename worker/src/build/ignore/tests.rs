use super::*;

fn excluded(file: &str, path: &str) -> bool {
    Ignore::parse(file.as_bytes()).expect(file).excludes(path.as_bytes())
}

#[test]
fn patterns_mean_what_the_documentation_says() {
    // From "Dockerfile reference, .dockerignore file", and the table of moby/patternmatcher.
    let table: &[(&str, &[&str], &[&str])] = &[
        ("# comment\n", &[], &["# comment", "comment"]),
        ("*/temp*", &["somedir/temporary.txt", "somedir/temp", "somedir/temp/x"], &["temp", "a/b/temp"]),
        ("*/*/temp*", &["somedir/subdir/temporary.txt"], &["somedir/temporary.txt"]),
        ("temp?", &["tempa", "tempb", "tempa/below"], &["temp", "tempab", "x/tempa"]),
        ("**/*.go", &["a.go", "x/a.go", "x/y/z/a.go"], &["a.goo", "x/ago"]),
        ("*.md\n!README.md", &["a.md"], &["README.md", "docs/a.md"]),
        ("*.md\n!README*.md\nREADME-secret.md", &["a.md", "README-secret.md"], &["README.md", "README2.md"]),
        ("*.md\nREADME-secret.md\n!README*.md", &["a.md"], &["README.md", "README-secret.md"]),
        ("/foo/bar/", &["foo/bar", "foo/bar/x"], &["x/foo/bar", "foo/barx"]),
        ("foo/bar", &["foo/bar", "foo/bar/x"], &["foo", "x/foo/bar"]),
        ("./a/../b", &["b", "b/c"], &["a", "a/b"]),
        ("*", &["a", "a/b", ".hidden"], &[]),
        ("*\n!src", &["a", "a/b"], &["src", "src/a", "src/a/b"]),
        ("*\n!src/**\nsrc/skip", &["a", "src/skip", "src/skip/x"], &["src/a"]),
        ("**", &["file", "file/", "dir/file"], &[]),
        ("**/", &["file", "dir/file"], &[]),
        ("**/**", &["dir/file", "dir/file/"], &[]),
        ("dir/**", &["dir/file", "dir/dir2/file"], &["other"]),
        ("**/dir", &["dir", "a/dir", "a/dir/x", "dir/dir"], &["adir", "dirs"]),
        ("**/dir2/*", &["dir/dir2/file", "dir/dir2/dir2/file"], &["dir2"]),
        ("**file", &["file", "dir/file"], &["afile"]),
        ("a**b", &["ab", "ax/b"], &["axb"]),
        ("[a-c]x", &["ax", "bx"], &["dx", "x"]),
        ("[^a-c]x", &["dx"], &["ax", "/x"]),
        ("a\\*b", &["a*b"], &["axb"]),
        ("a.b$c+(d)|{e}", &["a.b$c+(d)|{e}"], &["axb$c+(d)|{e}"]),
        ("  spaced  \n", &["spaced"], &[]),
        ("\u{feff}bom", &["bom"], &[]),
        ("dos\r\n!x\r\n", &["dos"], &["x"]),
        (
            "node_modules\n!node_modules/keep",
            &["node_modules/a"],
            &["node_modules/keep", "node_modules/keep/b"],
        ),
        ("\u{e9}*", &["\u{e9}t\u{e9}"], &["ete"]),
    ];
    for (file, out, kept) in table {
        for path in *out {
            let path = path.trim_end_matches('/');
            assert!(excluded(file, path), "{file:?} excludes {path:?}");
        }
        for path in *kept {
            assert!(!excluded(file, path), "{file:?} keeps {path:?}");
        }
    }
}

#[test]
fn a_file_that_docker_refuses_is_refused() {
    for file in ["!", "a\n! ", "[", "[]a]", "[b-a]", "a\\", "[a"] {
        assert!(matches!(Ignore::parse(file.as_bytes()), Err(PatternError::Malformed { .. })), "{file:?}");
    }
    assert_eq!(Ignore::parse("x\n".repeat(PATTERNS + 1).as_bytes()).err(), Some(PatternError::TooMany));
}

#[test]
fn names_that_are_no_text_match_by_their_bytes() {
    let ignore = Ignore::parse(b"caf\xe9*").expect("pattern");
    assert!(ignore.excludes(b"caf\xe9/x") && !ignore.excludes("caf\u{e9}".as_bytes()));
    assert!(Ignore::parse(b"a?b").expect("pattern").excludes(b"a\xffb"));
}

proptest::proptest! {
    #[test]
    fn no_file_and_no_path_can_panic(file: Vec<u8>, path: Vec<u8>) {
        if let Ok(ignore) = Ignore::parse(&file) {
            ignore.excludes(&path);
        }
    }
}

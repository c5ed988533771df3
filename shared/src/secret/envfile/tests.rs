use proptest::prelude::*;

use super::*;

fn read_all(text: &str) -> EnvFile {
    parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error} in {text:?}"))
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let file = read_all(text);
    file.variables.iter().map(|v| (v.name.clone(), v.value.expose_secret().to_owned())).collect()
}

fn value(text: &str) -> String {
    let pairs = pairs(text);
    assert_eq!(pairs.len(), 1, "{text:?}");
    pairs[0].1.clone()
}

#[test]
fn the_syntax_people_write() {
    for (text, expected) in [
        ("A=b", "b"),
        ("A=b\n", "b"),
        ("A=b   ", "b"),
        ("A=b   \n", "b"),
        ("  A  =  b  \n", "b"),
        ("A=", ""),
        ("A=\"\"", ""),
        ("A=''", ""),
        ("A= # nothing", ""),
        ("export A=b", "b"),
        ("export\tA=b", "b"),
        ("export=b", "b"),
        ("A=b # it's a comment", "b"),
        ("A=b#c", "b#c"),
        ("A=\"b # c\" # d", "b # c"),
        ("A='b # c'", "b # c"),
        ("A=#it's", ""),
        ("A=\"b c\"", "b c"),
        ("A=\"b\\nc\\td\\re\"", "b\nc\td\re"),
        ("A='b\\nc'", "b\\nc"),
        ("A=\"b \\\"c\\\" \\\\ d\"", "b \"c\" \\ d"),
        ("A='{\"a\": \"b\"}'", "{\"a\": \"b\"}"),
        ("A=\"it's\"", "it's"),
        ("A=\"one\ntwo\n\n# three\n\"", "one\ntwo\n\n# three\n"),
        ("A='one\ntwo'", "one\ntwo"),
        ("A=\"one\r\ntwo\"\r\n", "one\ntwo"),
        ("A='C:\\temp\\'", "C:\\temp\\"),
        ("A='\\\\'", "\\\\"),
        ("A=a'b'\"c\"", "abc"),
        ("A=a=b==", "a=b=="),
        ("\u{feff}A=é", "é"),
        ("# c\n\n   # d\nA=b\n#", "b"),
        ("A=b\\ c", "b c"),
        ("A=postgres://u:p@h/d?x=1&y=2", "postgres://u:p@h/d?x=1&y=2"),
    ] {
        assert_eq!(value(text), expected, "{text:?}");
    }
    assert_eq!(pairs(""), []);
    assert_eq!(pairs("\n# only\r\n\r\n"), []);
}

#[test]
fn a_dollar_is_a_dollar_and_our_own_environment_stays_ours() {
    // What the library does when it is left alone: if this fails, the care taken here may no longer be needed.
    let ours = env!("CARGO_MANIFEST_DIR");
    let leaked =
        dotenvy::from_read_iter(&b"A=${CARGO_MANIFEST_DIR}"[..]).next().expect("one").expect("read").1;
    assert_eq!(leaked, ours);
    for text in
        ["$PATH", "${PATH}", "$HOME/x", "${CARGO_MANIFEST_DIR}", "$", "$$", "a$b$c", "$2b$10$abc", "${", "x$"]
    {
        for quoted in [text.to_owned(), format!("\"{text}\""), format!("'{text}'")] {
            assert_eq!(value(&format!("A={quoted}")), text, "{quoted}");
        }
    }
    assert_eq!(value("A=\"\\$PATH \\\\$PATH\""), "$PATH \\$PATH");
    assert_eq!(value("A=\\$PATH"), "$PATH");
    assert_eq!(value("A='\\$PATH'"), "\\$PATH");
    assert_eq!(value("A='\\'$PATH"), "\\$PATH");
    assert_eq!(
        pairs("A=1\nB=$A\nC=${A}")[1..].iter().map(|(_, v)| v.as_str()).collect::<Vec<_>>(),
        ["$A", "${A}"]
    );
}

#[test]
fn what_a_dollar_might_have_meant_is_said() {
    let warned = |text: &str| !read_all(text).warnings.is_empty();
    assert!(warned("A=1\nB=$A/x") && warned("B=${HOME}/x") && warned("A=${A}"));
    assert!(!warned("A=1\nB=$2b$10$abc") && !warned("A=$HOME") && !warned("A=${}") && !warned("A=5$"));
    let file = read_all("A=1\nB=${A}");
    assert_eq!(file.warnings[0].line, 2);
    assert!(file.warnings[0].text.starts_with("B mentions another variable"), "{:?}", file.warnings);
}

#[test]
fn the_later_of_two_wins_and_both_lines_are_named() {
    let file = read_all("A=1\nB=2\n\nA=3\n");
    let seen: Vec<_> =
        file.variables.iter().map(|v| (v.name.as_str(), v.value.expose_secret(), v.line)).collect();
    assert_eq!(seen, [("A", "3", 4), ("B", "2", 2)]);
    assert_eq!(file.warnings.len(), 1);
    assert!(file.warnings[0].text.contains("line 1") && file.warnings[0].text.contains("line 4"));
}

#[test]
fn names_and_comments_that_deserve_a_word() {
    let file = read_all("PORT=80\nCOLOR=#fff\nSPACED= # none\nEMPTY=\n");
    let lines: Vec<usize> = file.warnings.iter().map(|warning| warning.line).collect();
    assert_eq!(lines, [1, 2], "{:?}", file.warnings);
    assert!(file.warnings[1].text.contains("COLOR is empty"));
}

#[test]
fn secrets_are_spotted() {
    let file = read_all("LOG=info\nDB_PASSWORD=hunter2\n");
    assert_eq!(file.variables[0].secret, None);
    assert_eq!(file.variables[1].secret, Some(spot::Why::Name("PASSWORD")));
    assert!(!format!("{file:?}").contains("hunter2"));
}

#[test]
fn mistakes_are_told_by_line_and_never_by_value() {
    let long = format!("A=1\nB={}", "x".repeat(variable::VALUE_MAX + 1));
    for (text, code, expected) in [
        ("A=1\n\nhunter2", Code::EnvFileInvalid, "line 3: there is no ="),
        ("A=1\nB: hunter2", Code::EnvFileInvalid, "line 2: there is no ="),
        ("A=1\r\nB=\"hunter2\r\nC=3", Code::EnvFileInvalid, "line 2: a quote is opened"),
        ("A='hunter2", Code::EnvFileInvalid, "line 1: a quote is opened"),
        ("A=\"x\ny\"\nB=it's hunter2", Code::EnvFileInvalid, "line 3: a quote is opened"),
        ("A=\"x\ny\"\nB=my hunter2", Code::EnvFileInvalid, "line 3: there is text after a space"),
        ("A=\"my\" hunter2", Code::EnvFileInvalid, "line 1: there is text after a space"),
        ("A=\"hunter2\\d\"", Code::EnvFileInvalid, "line 1: a backslash is followed"),
        ("A=C:\\hunter2", Code::EnvFileInvalid, "line 1: a backslash is followed"),
        ("A=hunter2\\", Code::EnvFileInvalid, "line 1: the value ends with a backslash"),
        ("A=hunter2\\ \nB=1", Code::EnvFileInvalid, "line 1: the value ends with a backslash"),
        ("A=1\nB=hunter2\0", Code::EnvFileInvalid, "line 2: there is a NUL"),
        ("hunter2-x=1", Code::VariableInvalid, "line 1: the name of a variable must be"),
        ("2hunter2=1", Code::VariableInvalid, "line 1: the name"),
        ("hunter2.x=1", Code::VariableInvalid, "line 1: the name"),
        ("A hunter2=1", Code::VariableInvalid, "line 1: the name"),
        ("\"hunter2\"=1", Code::VariableInvalid, "line 1: the name"),
        ("=hunter2", Code::VariableInvalid, "line 1: a variable has no name"),
        ("export =hunter2", Code::EnvFileInvalid, ""),
        ("A=1\nDEPLOYMIND_X=hunter2", Code::VariableInvalid, "line 2: names that begin with DEPLOYMIND_"),
        (long.as_str(), Code::VariableInvalid, "line 2: the value of B is longer than 64 KiB"),
    ] {
        if expected.is_empty() {
            // `export` with an odd space before `=` is a variable of that name.
            assert_eq!(pairs(text), [("export".to_owned(), "hunter2".to_owned())]);
            continue;
        }
        let error = parse(text.as_bytes()).expect_err(text);
        assert_eq!(error.code(), code, "{error}");
        assert!(error.sentence().starts_with(expected), "{expected}: {error}");
        assert!(!error.chain().contains("hunter2") && !error.chain().contains("xxxx"), "{error}");
    }
    let error = parse(b"A=1\nB=\xff").expect_err("not UTF-8");
    assert!(error.sentence().starts_with("line 2: there is something that is not UTF-8"), "{error}");
}

#[test]
fn a_text_has_a_size_and_a_number_of_variables() {
    let many = |count: usize| (0..count).map(|n| format!("A{n}={n}\n")).collect::<String>();
    assert_eq!(read_all(&many(VARIABLES_MAX)).variables.len(), VARIABLES_MAX);
    let error = parse(many(VARIABLES_MAX + 1).as_bytes()).expect_err("many");
    assert!(error.sentence().starts_with("line 1001: "), "{error}");
    let error = parse(&vec![b'\n'; TEXT_MAX + 1]).expect_err("large");
    assert_eq!(error.code(), Code::EnvFileInvalid);
    assert!(read_all(&"\n".repeat(TEXT_MAX)).variables.is_empty());
}

/// The way a careful program would write a value, in one of three styles.
fn render(name: &str, value: &str, style: u8) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=$".contains(c);
    match style {
        0 if value.chars().all(plain) => format!("{name}={value}"),
        1 if !value.contains('\'') => format!("export {name} = '{value}' # it's $x"),
        _ => format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

proptest! {
    #[test]
    fn what_is_rendered_parses_back(
        values in proptest::collection::vec(("[a-zA-Z0-9$\\\\'\" #=\n\t{}é-]{0,30}", 0u8..3), 0..12),
    ) {
        let mut text = String::from("# begin\n");
        let mut expected = Vec::new();
        let mut lines = Vec::new();
        for (index, (value, style)) in values.iter().enumerate() {
            let name = format!("V{index}");
            lines.push(1 + text.matches('\n').count());
            text.push_str(&render(&name, value, *style));
            text.push_str(if index % 2 == 0 { "\n\n" } else { "\n" });
            expected.push((name, value.clone()));
        }
        prop_assert_eq!(pairs(&text), expected);
        prop_assert_eq!(read_all(&text).variables.iter().map(|v| v.line).collect::<Vec<_>>(), lines);
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _either = parse(&bytes).is_ok();
    }

    #[test]
    fn no_arrangement_of_the_syntax_reaches_our_environment(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "A=", "B =", "export ", "$", "${CARGO_MANIFEST_DIR}", "${", "}", "\\", "'", "\"", " ", "\t", "#", "\n", "\r",
                "\r\n", "\u{a0}", "x", "CARGO_MANIFEST_DIR}", "=",
            ]),
            0..40,
        ),
    ) {
        if let Ok(file) = parse(parts.concat().as_bytes()) {
            for variable in &file.variables {
                prop_assert!(!variable.value.expose_secret().contains(env!("CARGO_MANIFEST_DIR")));
            }
        }
    }
}

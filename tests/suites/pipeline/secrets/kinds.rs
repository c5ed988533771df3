//! The kinds of secret, and how each gets into what a build says.

use deploymind_shared::domain::app::VariableScope;
use deploymind_tests::git::Entry;

use super::Builder;
use super::search::base64;

pub(super) struct Kind {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) scope: VariableScope,
    /// Without: it is known by its look alone.
    pub(super) declared: bool,
    /// Bytes that a step writes, or the Dockerfile's own lines.
    pub(super) how: Vec<u8>,
}

pub(super) struct Leaks {
    pub(super) kinds: Vec<Kind>,
    pub(super) message: String,
    pub(super) author: String,
    /// Lines of the Dockerfile.
    lines: String,
    /// What a step says, in pieces with a pause between them.
    pieces: Vec<Vec<u8>>,
    /// Names of files.
    names: Vec<Vec<u8>>,
}

fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn kind(name: &str, value: &str) -> Kind {
    Kind {
        name: name.to_owned(),
        value: value.to_owned(),
        scope: VariableScope::Run,
        declared: true,
        how: Vec::new(),
    }
}

fn percent(value: &str, upper: bool) -> String {
    let coded = |byte: u8| if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
    value
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { coded(b) })
        .collect()
}

fn json(value: &str) -> String {
    let text = serde_json::json!(value).to_string();
    text[1..text.len() - 1].to_owned()
}

fn hex(value: &str, between: &str) -> String {
    value.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(between)
}

/// 6 lines of base64, as a key has them.
fn pem() -> String {
    let body: String = (0..6).map(|_| format!("{}{}\n", random(), random())).collect();
    format!("-----BEGIN TEST MATERIAL-----\n{body}-----END TEST MATERIAL-----\n")
}

impl Leaks {
    pub(super) fn make(builder: Builder) -> Self {
        let mut leaks = Self {
            kinds: Vec::new(),
            message: String::new(),
            author: String::new(),
            lines: String::new(),
            pieces: Vec::new(),
            names: Vec::new(),
        };
        leaks.encoded();
        leaks.torn();
        leaks.shaped();
        leaks.elsewhere();
        leaks.in_the_dockerfile(builder);
        leaks
    }

    /// Said by a step in this form, on a line of its own.
    fn said(&mut self, name: &str, value: &str, form: &str) {
        self.kinds.push(kind(name, value));
        self.pieces.push(format!("{name}-is <{form}>\n").into_bytes());
    }

    fn encoded(&mut self) {
        let odd = |front: &str| format!("{front}/{} &=+?\"'\\<{}>", random(), &random()[..8]);
        let value = random();
        self.said("PLAIN", &value, &value);
        for (name, before, after) in [
            ("BASE64", "", ""),
            ("BASE64_ONE_OFF", "x", "y"),
            ("BASE64_TWO_OFF", "user:", "\n"),
            ("BASE64_MIDDLE", "{\"auth\":\"", "\"}"),
        ] {
            let value = random();
            self.said(name, &value, &base64(format!("{before}{value}{after}").as_bytes()));
        }
        let value = format!("{}??>>~~{}", random(), random());
        let url_safe = base64(value.as_bytes()).replace('+', "-").replace('/', "_");
        self.said("BASE64_URL_SAFE", &value, url_safe.trim_end_matches('='));
        let value = format!("{}{}{}", random(), random(), random());
        let coded = base64(value.as_bytes());
        let wrapped: Vec<&str> = [&coded[..76], &coded[76..]].into();
        self.said("BASE64_WRAPPED", &value, &format!("\n{}\n", wrapped.join("\n")));
        let value = odd("url");
        self.said("URL_ENCODED", &value, &percent(&value, true));
        let value = odd("lower");
        self.said("URL_ENCODED_LOWER", &value, &percent(&value, false));
        let value = format!("form value {}", random());
        self.said("URL_ENCODED_FORM", &value, &value.replace(' ', "+"));
        let value = odd("twice");
        self.said("URL_ENCODED_TWICE", &value, &percent(&value, true).replace('%', "%25"));
        let value = odd("json");
        self.said("JSON_ESCAPED", &value, &json(&value));
        let value = odd("json2");
        self.said("JSON_TWICE", &value, &json(&json(&value)));
        let value = format!("pässwört-{}", random());
        self.said("JSON_ASCII", &value, &value.replace('ä', "\\u00e4").replace('ö', "\\u00f6"));
        let value = odd("html");
        let html = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        self.said("HTML_ESCAPED", &value, &html.replace('"', "&quot;").replace('\'', "&#39;"));
        let value = odd("shell");
        self.said("SHELL_QUOTED", &value, &format!("'{}'", value.replace('\'', "'\\''")));
        let value = random();
        self.said("HEX", &value, &hex(&value, ""));
        let value = random();
        self.said("HEX_COLONS", &value, &hex(&value, ":").to_uppercase());
    }

    /// In more than one piece.
    fn torn(&mut self) {
        let value = random();
        self.kinds.push(kind("TWO_WRITES", &value));
        self.pieces.extend([value[..9].into(), format!("{}\n", &value[9..]).into_bytes()]);
        let value = random();
        self.kinds.push(kind("MANY_WRITES", &value));
        self.pieces.extend(value.as_bytes().chunks(7).map(<[u8]>::to_vec));
        self.pieces.push(b"\n".to_vec());
        let value = random();
        self.kinds.push(kind("BASE64_TWO_WRITES", &value));
        let coded = base64(format!("xx{value}").as_bytes());
        self.pieces.extend([coded[..21].into(), format!("{}\n", &coded[21..]).into_bytes()]);
        // Astride each of the cuts of a line that is too long.
        let value = random();
        self.kinds.push(kind("LINE_CUT", &value));
        let mut long = "a".repeat((16 << 10) - 11);
        for _ in 0..3 {
            long.push_str(&value);
            long.push_str(&"b".repeat((16 << 10) - value.len()));
        }
        self.pieces.push(format!("{long}\n").into_bytes());
        let value = random();
        self.kinds.push(kind("NO_LINE_BREAK", &value));
        self.pieces.push(format!("{}\n", value.repeat(2_000)).into_bytes());
        let value = random();
        self.kinds.push(kind("COLOURED", &value));
        self.pieces.push(format!("{}\u{1b}[1;31m{}\u{1b}[0m\n", &value[..10], &value[10..]).into_bytes());
        let value = random();
        self.kinds.push(kind("REDRAWN", &value));
        self.pieces.push(format!("10%\r{value} 20%\r{value} 30%\rdone\n").into_bytes());
    }

    /// By what the value itself is.
    fn shaped(&mut self) {
        for (name, value) in [
            ("LONG", (0..200).map(|_| random()).collect::<String>()),
            ("SPECIAL", format!("p@$$w0rd`$(x)`\"'\\/{}<>&%s\t!", random())),
            ("UNICODE", format!("пароль-密码-{}-é", random())),
            ("DIGITS", format!("{:.15}", random().bytes().map(|b| (b % 10).to_string()).collect::<String>())),
            ("SPACED", format!("  correct horse {} staple  ", random())),
        ] {
            self.said(name, &value, &value);
        }
        let value = pem();
        self.said("MANY_LINES", &value, &value);
        let value = pem();
        self.said("MANY_LINES_ESCAPED", &value, &value.replace('\n', "\\n"));
        let value = random();
        self.said("IN_A_URL", &value, &format!("postgres://user:{value}@db.internal:5432/shop"));
        let value = random();
        self.said("BEARER", &value, &format!("Authorization: Bearer {value}"));
        let value = format!("ghp_{}", &format!("{}{}", random(), random())[..36]);
        self.said("KNOWN_BY_ITS_LOOK", &value, &value);
        if let Some(last) = self.kinds.last_mut() {
            last.declared = false;
        }
    }

    /// Where no step says it.
    fn elsewhere(&mut self) {
        let (message, cut, author, file) = (random(), random(), random(), random());
        // The second stands where the record cuts a message.
        let front = format!("message with {message} in it ");
        self.message = format!("{front}{}{cut} and more", "m".repeat(1_000 - 16 - front.len()));
        self.author = format!("Author {author}");
        // A name that is not UTF-8 is named in a warning.
        self.names.push([file.as_bytes(), b"-\xff.txt"].concat());
        for (name, value) in [
            ("COMMIT_MESSAGE", message),
            ("MESSAGE_CUT", cut),
            ("COMMIT_AUTHOR", author),
            ("FILE_NAME", file),
        ] {
            self.kinds.push(kind(name, &value));
        }
    }

    fn in_the_dockerfile(&mut self, builder: Builder) {
        for (name, line) in [
            ("IN_ENV", "ENV SETTING=@"),
            ("IN_ENV_PASSWORD", "ENV DB_PASSWORD=@"),
            ("IN_ARG", "ARG DEFAULT_TOKEN=@"),
            ("IN_LABEL", "LABEL note=\"holds @\""),
            ("IN_COMMENT", "# the password is @"),
            ("IN_RUN", "RUN echo @ > /dev/null"),
            ("IN_STDERR", "RUN echo @ >&2"),
            ("IN_HEALTHCHECK", "HEALTHCHECK CMD curl -H 'X-Key: @' localhost"),
            ("IN_CMD", "CMD echo @"),
            ("IN_ADDRESS", "ENV DATABASE=postgres://app:@@db/shop"),
        ] {
            let value = random();
            self.lines.push_str(&line.replacen('@', &value, 1));
            self.lines.push('\n');
            self.kinds.push(kind(name, &value));
        }
        for (name, scope) in [
            ("BUILD_ARG_ENV", VariableScope::Build),
            ("BOTH_ARG_ECHO", VariableScope::Both),
            ("BUILD_NOT_ASKED", VariableScope::Build),
        ] {
            self.kinds.push(Kind { scope, ..kind(name, &random()) });
        }
        self.lines.push_str("ARG BUILD_ARG_ENV\nRUN env | sort\nARG BOTH_ARG_ECHO\nRUN echo both $BOTH_ARG_ECHO\nENV KEPT=$BOTH_ARG_ECHO\n");
        if builder == Builder::BuildKit {
            self.kinds.push(Kind { scope: VariableScope::Build, ..kind("MOUNTED", &random()) });
            self.lines.push_str("RUN --mount=type=secret,id=MOUNTED cat /run/secrets/MOUNTED && base64 /run/secrets/MOUNTED\n");
        }
    }

    /// The repository. `marker` and `open` are said like secrets and are none.
    pub(super) fn files(&self, marker: &str, open: &str) -> Vec<Entry> {
        let mut files = vec![Entry::file(".dockerignore", ".git\n")];
        let mut pieces = self.pieces.clone();
        pieces.push(format!("{marker} {open}\n").into_bytes());
        for (number, piece) in pieces.iter().enumerate() {
            files.push(Entry::file(format!("said/{number:04}"), piece));
        }
        files.extend(self.names.iter().map(|name| Entry::file(name, "x")));
        let dockerfile = format!(
            "FROM debian:bookworm-slim\nCOPY . /app\nRUN for piece in /app/said/*; do cat $piece; sleep 0.02; done\n{}USER 1000\n",
            self.lines
        );
        files.push(Entry::file("Dockerfile", dockerfile));
        files
    }
}

/// Repositories whose build fails with a secret in the reason: `how` is the Dockerfile.
pub(super) fn failing() -> Vec<Kind> {
    let bookworm = "FROM debian:bookworm-slim\n";
    let make = |name: &str, dockerfile: &dyn Fn(&str) -> String| {
        let value = random();
        Kind { how: dockerfile(&value).into_bytes(), ..kind(name, &value) }
    };
    vec![
        make("ERROR_COMMAND", &|value| format!("{bookworm}RUN echo said {value}; false {value}\n")),
        // The sentence shows the first 300 bytes of an instruction: the value stands astride.
        make("ERROR_CUT", &|value| {
            format!("{bookworm}RUN : {}; false {value}; exit 3\n", "c".repeat(300 - 20 - 15))
        }),
        // And of a line of the output.
        make("ERROR_TAIL_CUT", &|value| {
            format!("{bookworm}RUN printf '%s%s\\n' {} {value}; echo {value}; exit 3\n", "c".repeat(300 - 16))
        }),
        make("ERROR_BASE", &|value| format!("FROM 127.0.0.1:1/{value}/image:1\n")),
    ]
}

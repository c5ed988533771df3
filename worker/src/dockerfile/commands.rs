//! The commands of a RUN, as far as a lint needs them: words, and which command feeds which. It is no shell.

use super::parse::Instruction;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) words: Vec<String>,
    /// It reads what the command before it writes.
    pub(super) piped: bool,
}

impl Command {
    /// The name of the program, without its folder.
    pub(super) fn program(&self) -> &str {
        self.words.first().and_then(|it| it.rsplit('/').next()).unwrap_or_default()
    }

    pub(super) fn has(&self, word: &str) -> bool {
        self.words.iter().skip(1).any(|it| it == word)
    }

    /// The first word that is neither the program nor a flag: `install` of `apt-get -y install`.
    pub(super) fn verb(&self) -> &str {
        self.words.iter().skip(1).find(|it| !it.starts_with('-')).map_or("", String::as_str)
    }
}

pub(super) fn commands(run: &Instruction) -> Vec<Command> {
    if let Some(argv) = run.json() {
        return match argv.as_slice() {
            [shell, flag, script] if is_shell(shell) && flag.starts_with('-') && flag.ends_with('c') => {
                split(script)
            }
            _ => vec![clean(Command { words: argv, piped: false })],
        };
    }
    let mut found = split(&run.args);
    for body in &run.heredocs {
        found.extend(split(body));
    }
    found
}

pub(super) fn is_shell(program: &str) -> bool {
    matches!(program.rsplit('/').next(), Some("sh" | "bash" | "dash" | "ash" | "zsh" | "ksh"))
}

fn split(script: &str) -> Vec<Command> {
    let mut found = Vec::new();
    let mut command = Command { words: Vec::new(), piped: false };
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = script.chars().peekable();
    while let Some(next) = chars.next() {
        match (quote, next) {
            (Some(open), it) if it == open => quote = None,
            (Some('"') | None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some(_), it) => word.get_or_insert_default().push(it),
            (None, '"' | '\'') => {
                quote = Some(next);
                word.get_or_insert_default();
            }
            (None, '&' | '|' | ';' | '\n' | '(' | ')') => {
                command.words.extend(word.take());
                let double = next != '\n' && chars.next_if_eq(&next).is_some();
                let piped = next == '|' && !double;
                let done = std::mem::replace(&mut command, Command { words: Vec::new(), piped });
                found.push(clean(done));
            }
            (None, it) if it.is_whitespace() => command.words.extend(word.take()),
            (None, it) => word.get_or_insert_default().push(it),
        }
    }
    command.words.extend(word);
    found.push(clean(command));
    found.retain(|it| !it.words.is_empty());
    found
}

/// Words of the shell and variables in front of the program are taken off.
fn clean(mut command: Command) -> Command {
    let prefix = |word: &String| {
        let name = word.split_once('=').map(|it| it.0);
        matches!(word.as_str(), "then" | "do" | "else" | "if" | "while" | "!" | "{" | "exec" | "time" | "env")
            || name.is_some_and(|it| {
                !it.is_empty() && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
            })
    };
    let length = command.words.iter().take_while(|it| prefix(it)).count();
    command.words.drain(..length);
    command
}

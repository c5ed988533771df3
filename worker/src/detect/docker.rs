//! The repository's own Dockerfile: that it is there, is text, and what it exposes. How good it is, the lint says.

use std::collections::HashMap;

use deploymind_shared::error::{Code, Error};

use super::tree::{Tree, clip};

pub(super) struct Dockerfile {
    /// Relative to the root.
    pub(super) path: String,
    pub(super) exposed: Option<u16>,
}

pub(super) fn find(tree: &Tree, wanted: Option<&str>) -> Result<Option<Dockerfile>, Error> {
    let wanted = wanted.map(str::trim).filter(|it| !it.is_empty());
    let path = wanted.unwrap_or("Dockerfile");
    let path = path.strip_prefix("./").unwrap_or(path);
    let invalid =
        |why: &str| Error::new(Code::DockerfileInvalid, format!("the Dockerfile {:?} {why}", clip(path)));
    let inside = !path.starts_with('/');
    let Some(text) = (if inside { tree.text_or(path, Code::DockerfileInvalid)? } else { None }) else {
        return match wanted {
            Some(_) => Err(invalid(&format!(
                "is not a file of {}; set `dockerfile` to its path there, or remove that setting",
                tree.label()
            ))),
            None => Ok(None),
        };
    };
    if text.contains('\0') {
        return Err(invalid("is not text; write it again as plain text"));
    }
    if !instructions(&text).any(|(word, _)| word.eq_ignore_ascii_case("FROM")) {
        return Err(invalid("has no FROM; begin it with the image to build on, `FROM <image>`"));
    }
    Ok(Some(Dockerfile { path: path.to_owned(), exposed: exposed(&text) }))
}

fn instructions(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .map(str::trim)
        .filter(|it| !it.starts_with('#'))
        .filter_map(|it| it.split_once(char::is_whitespace))
        .map(|(word, rest)| (word, rest.trim()))
}

/// The first port of the last stage; a variable is followed to its `ARG` or `ENV`.
fn exposed(text: &str) -> Option<u16> {
    let mut variables = HashMap::new();
    let mut port = None;
    for (word, rest) in instructions(text) {
        match word.to_ascii_uppercase().as_str() {
            "FROM" => port = None,
            "ARG" | "ENV" => {
                let (name, value) = rest.split_once(['=', ' ']).unwrap_or((rest, ""));
                variables.insert(name, value.trim_matches(['"', '\'']));
            }
            "EXPOSE" if port.is_none() => {
                let first = rest.split_whitespace().next().unwrap_or_default();
                let number = first.split('/').next().unwrap_or_default();
                let name = number.trim_start_matches(['$', '{']).trim_end_matches('}');
                let (name, default) = name.split_once(":-").unwrap_or((name, ""));
                let value = variables.get(name).copied().unwrap_or(default);
                port = number.parse().or_else(|_| value.parse()).ok().filter(|it: &u16| *it > 0);
            }
            _ => {}
        }
    }
    port
}

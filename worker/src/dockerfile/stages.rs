//! The stages of a Dockerfile: what each builds on, and what its variables are worth as far as the text says.

use std::collections::HashMap;

use deploymind_shared::error::Error;

use super::parse::{Instruction, parse};

pub(super) type Variables = HashMap<String, String>;

#[derive(Debug)]
pub(super) struct Stage {
    pub(super) from: Instruction,
    pub(super) name: Option<String>,
    pub(super) base: Base,
    pub(super) instructions: Vec<Instruction>,
    /// As they are at the end of the stage.
    pub(super) variables: Variables,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    /// An earlier stage, by its place.
    Stage(usize),
    Image(String),
    Scratch,
    /// It depends on a variable that has no value in the text.
    Unresolved,
}

#[derive(Debug)]
pub(super) struct Stages {
    /// Never empty.
    pub(super) stages: Vec<Stage>,
    /// ARG before the first FROM.
    pub(super) global: Vec<Instruction>,
}

impl Stages {
    pub(super) fn of(text: &str) -> Result<Self, Error> {
        let parsed = parse(text)?;
        let mut stages: Vec<Stage> = Vec::new();
        let mut global = Vec::new();
        let mut defaults = Variables::new();
        for found in parsed.instructions {
            if found.keyword == "FROM" {
                let stage = begin(found, &stages, &defaults, parsed.escape);
                stages.push(stage);
            } else if let Some(stage) = stages.last_mut() {
                assign(&found, &mut stage.variables, Some(&defaults), parsed.escape);
                stage.instructions.push(found);
            } else {
                assign(&found, &mut defaults, None, parsed.escape);
                global.push(found);
            }
        }
        Ok(Self { stages, global })
    }

    /// The places of the last stage and of those it builds on, the oldest first.
    pub(super) fn shipped(&self) -> Vec<usize> {
        let mut places = Vec::new();
        let mut next = self.stages.len().checked_sub(1);
        while let Some(place) = next {
            places.push(place);
            // A stage builds on an earlier one only, so this ends.
            next = match self.stages[place].base {
                Base::Stage(earlier) if earlier < place => Some(earlier),
                _ => None,
            };
        }
        places.reverse();
        places
    }

    /// Whether `COPY --from` means a stage.
    fn is_stage(&self, name: &str) -> bool {
        name.parse::<usize>().is_ok_and(|place| place < self.stages.len())
            || self
                .stages
                .iter()
                .any(|it| it.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name)))
    }
}

fn begin(from: Instruction, earlier: &[Stage], defaults: &Variables, escape: char) -> Stage {
    let words: Vec<&str> = from.args.split_whitespace().collect();
    let name = match words.as_slice() {
        [_, r#as, name, ..] if r#as.eq_ignore_ascii_case("as") => Some((*name).to_owned()),
        _ => None,
    };
    let image = words.first().and_then(|word| expand(word, defaults, escape)).filter(|it| !it.is_empty());
    let base = match image {
        None => Base::Unresolved,
        Some(image) => {
            let place = earlier
                .iter()
                .rposition(|it| it.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(&image)));
            match place {
                Some(place) => Base::Stage(place),
                None if image == "scratch" => Base::Scratch,
                None => Base::Image(image),
            }
        }
    };
    let variables = match base {
        Base::Stage(place) => earlier[place].variables.clone(),
        _ => Variables::new(),
    };
    Stage { from, name, base, instructions: Vec::new(), variables }
}

/// What ENV and ARG do to the variables.
fn assign(found: &Instruction, variables: &mut Variables, global: Option<&Variables>, escape: char) {
    for (name, value) in assignments(found) {
        let value = match value {
            Some(value) => expand(&value, variables, escape),
            None => global.and_then(|global| global.get(&name).cloned()),
        };
        match value {
            Some(value) => variables.insert(name, value),
            None => variables.remove(&name),
        };
    }
}

/// The names and values of an ENV or ARG, quotes taken off.
pub(super) fn assignments(found: &Instruction) -> Vec<(String, Option<String>)> {
    match found.keyword.as_str() {
        "ENV" => {
            let words = words(&found.args);
            // The old form: a name, a blank, and the rest is the value.
            if words.first().is_some_and(|it| !it.contains('=')) {
                let (name, value) = found.args.split_once(char::is_whitespace).unwrap_or((&found.args, ""));
                return vec![(name.to_owned(), Some(value.trim().to_owned()))];
            }
            words
                .iter()
                .filter_map(|it| it.split_once('='))
                .map(|(n, v)| (n.to_owned(), Some(v.to_owned())))
                .collect()
        }
        "ARG" => words(&found.args)
            .iter()
            .map(|it| {
                it.split_once('=').map_or((it.clone(), None), |(n, v)| (n.to_owned(), Some(v.to_owned())))
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Words parted by blanks, quotes taken off.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match (quote, next) {
            (Some(open), it) if it == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(next);
                word.get_or_insert_default();
            }
            (None, it) if it.is_whitespace() => words.extend(word.take()),
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (_, it) => word.get_or_insert_default().push(it),
        }
    }
    words.extend(word);
    words
}

/// `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME:+other}` filled in; `None` when a value is not in the text.
pub(super) fn expand(text: &str, variables: &Variables, escape: char) -> Option<String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['$', escape]) {
        filled.push_str(&rest[..at]);
        let sign = rest[at..].chars().next()?;
        rest = &rest[at + sign.len_utf8()..];
        if sign == escape {
            let next = rest.chars().next();
            filled.extend(next);
            rest = &rest[next.map_or(0, char::len_utf8)..];
            continue;
        }
        if let Some(inside) = rest.strip_prefix('{') {
            let (inside, after) = inside.split_once('}')?;
            rest = after;
            let end = inside.find(|it: char| !is_name(it)).unwrap_or(inside.len());
            let (name, modifier) = inside.split_at(end);
            let value = variables.get(name).filter(|it| !it.is_empty() || modifier.is_empty()).cloned();
            let value = match modifier.get(..2).map(|it| (it, &modifier[2..])) {
                Some((":-", default)) => value.or_else(|| Some(default.to_owned())),
                Some((":+", other)) => Some(value.map(|_| other.to_owned()).unwrap_or_default()),
                _ => value,
            };
            filled.push_str(&value?);
        } else {
            let end = rest.find(|it: char| !is_name(it)).unwrap_or(rest.len());
            filled.push_str(variables.get(&rest[..end])?);
            rest = &rest[end..];
        }
    }
    filled.push_str(rest);
    Some(filled)
}

fn is_name(it: char) -> bool {
    it.is_ascii_alphanumeric() || it == '_'
}

/// The TCP ports that the image says it listens on; none for a text that is no Dockerfile.
pub fn exposed_ports(text: &str) -> Vec<u16> {
    let Ok(stages) = Stages::of(text) else { return Vec::new() };
    let mut ports = Vec::new();
    for place in stages.shipped() {
        let stage = &stages.stages[place];
        for found in stage.instructions.iter().filter(|it| it.keyword == "EXPOSE") {
            for word in found.args.split_whitespace() {
                let Some(word) = expand(word, &stage.variables, '\\') else { continue };
                let number = match word.split_once('/') {
                    Some((number, protocol)) if protocol.eq_ignore_ascii_case("tcp") => number,
                    Some(_) => continue,
                    None => &word,
                };
                // Of a range, the first.
                let first = number.split('-').next().and_then(|it| it.parse().ok());
                if let Some(port) = first.filter(|port: &u16| *port > 0 && !ports.contains(port)) {
                    ports.push(port);
                }
            }
        }
    }
    ports
}

/// The images that the build needs, variables filled in from their defaults; what has no default is left out.
/// None for a text that is no Dockerfile.
pub fn base_images(text: &str) -> Vec<String> {
    let Ok(stages) = Stages::of(text) else { return Vec::new() };
    let mut images: Vec<String> = Vec::new();
    for stage in &stages.stages {
        let base = match &stage.base {
            Base::Image(image) => Some(image.clone()),
            _ => None,
        };
        let copied =
            stage.instructions.iter().filter_map(|it| it.flag("from").filter(|_| it.keyword == "COPY"));
        let copied = copied
            .filter(|name| !stages.is_stage(name) && !name.contains('$') && name.parse::<usize>().is_err());
        for image in base.into_iter().chain(copied.map(str::to_owned)) {
            if !images.contains(&image) {
                images.push(image);
            }
        }
    }
    images
}

/// Those of its base images that only the engine at hand can have: by id, or under the name that builds of apps get. They may
/// be another app's, with its source and whatever was built into it.
pub fn local_images(text: &str) -> Vec<String> {
    let by_id = |image: &str| {
        let digits = image.strip_prefix("sha256:").unwrap_or(image);
        !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_hexdigit())
    };
    base_images(text).into_iter().filter(|image| by_id(image) || image.starts_with("deploymind/")).collect()
}

#[cfg(test)]
mod tests {
    use super::local_images;

    #[test]
    fn images_of_others_on_the_same_engine_are_told_from_those_of_registries() {
        let text = "ARG B=deploymind/shop:1\nFROM $B AS a\nFROM 0a1f AS b\nFROM sha256:00ff AS c\nFROM debian:12\n\
                    COPY --from=beef / /x\nCOPY --from=a / /y\nCOPY --from=cafe:1 / /z\n";
        assert_eq!(local_images(text), ["deploymind/shop:1", "0a1f", "sha256:00ff", "beef"]);
    }
}

//! Manifests as data. What cannot be parsed is an error that names the file and the line.

use deploymind_shared::error::{Code, Error};
use serde_json::Value;

use super::tree::{Tree, clip};

/// Of one element.
const ATTRIBUTES: usize = 1_000;
/// Of a whole file.
const NAMESPACES: usize = 100;

fn invalid(file: &str, line: usize, what: &str) -> Error {
    Error::new(
        Code::ManifestInvalid,
        format!("{}, line {line}: {}; correct the file", clip(file), clip(what.trim_end_matches('.'))),
    )
}

/// A JSON object.
pub(super) fn json(tree: &Tree, file: &str) -> Result<Option<Value>, Error> {
    let Some(text) = tree.text(file)? else { return Ok(None) };
    let value: Value = serde_json::from_str(&text).map_err(|error| {
        invalid(file, error.line().max(1), error.to_string().split(" at line ").next().unwrap_or_default())
    })?;
    if !value.is_object() {
        return Err(invalid(file, 1, "an object ({ ... }) belongs here"));
    }
    Ok(Some(value))
}

pub(super) fn toml(tree: &Tree, file: &str) -> Result<Option<toml::Table>, Error> {
    let Some(text) = tree.text(file)? else { return Ok(None) };
    toml::from_str(&text).map(Some).map_err(|error| {
        let upto = error.span().map_or(0, |it| it.start).min(text.len());
        let line = 1 + text.as_bytes()[..upto].iter().filter(|it| **it == b'\n').count();
        invalid(file, line, error.message())
    })
}

/// The text of an XML file, once it is known to parse.
pub(super) fn xml<T>(
    tree: &Tree,
    file: &str,
    read: impl FnOnce(&roxmltree::Document<'_>) -> T,
) -> Result<Option<T>, Error> {
    let Some(text) = tree.text(file)? else { return Ok(None) };
    // The parser compares every attribute with its neighbours, and keeps every namespace at each level.
    if text.matches("xmlns").count() > NAMESPACES
        || text.split('<').any(|it| it.matches('=').count() > ATTRIBUTES)
    {
        return Err(invalid(file, 1, "it has more attributes or namespaces than any real file of its kind"));
    }
    let document = roxmltree::Document::parse(&text)
        .map_err(|error| invalid(file, error.pos().row as usize, &error.to_string()))?;
    Ok(Some(read(&document)))
}

/// A value of nested TOML tables.
pub(super) fn at<'a>(table: &'a toml::Table, path: &[&str]) -> Option<&'a toml::Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(table.get(*first)?, |value, key| value.get(key))
}

pub(super) fn text_at<'a>(table: &'a toml::Table, path: &[&str]) -> Option<&'a str> {
    at(table, path)?.as_str()
}

/// `<version>` of a line of `.tool-versions`.
pub(super) fn tool_version(tree: &Tree, tools: &[&str]) -> Option<String> {
    let text = tree.source(".tool-versions")?;
    text.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let tool = words.next()?;
        tools.contains(&tool).then(|| words.next().map(str::to_owned))?
    })
}

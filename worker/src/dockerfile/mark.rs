//! Marks every stage of a Dockerfile with labels, so that each nameless image that a builder keeps of its steps tells whose
//! it is. Without them, what fills a disk could not be told from what others built there.

use std::collections::BTreeSet;

use super::parse::parse;

/// The text with the labels after each FROM. One that cannot be parsed is left as it is: the builder will say why.
pub fn mark_stages(text: &str, labels: &[(String, String)]) -> String {
    let Ok(parsed) = parse(text) else { return text.to_owned() };
    if labels.is_empty() {
        return text.to_owned();
    }
    let stages: BTreeSet<usize> =
        parsed.instructions.iter().filter(|it| it.keyword == "FROM").map(|it| it.last as usize).collect();
    let mark = labels.iter().fold("LABEL".to_owned(), |mark, (name, value)| {
        mark + &format!(" {}={}", quoted(name), quoted(value))
    });
    let mut marked = String::new();
    for (i, line) in text.split('\n').enumerate() {
        if i > 0 {
            marked.push('\n');
        }
        marked.push_str(line);
        if stages.contains(&(i + 1)) {
            marked.push('\n');
            marked.push_str(&mark);
        }
    }
    marked
}

fn quoted(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control() && !"\"\\$`".contains(*c)).collect();
    format!("\"{plain}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_is_marked_and_nothing_else_changes() {
        let labels = [("a.b".to_owned(), "x".to_owned()), ("c".to_owned(), "1\"$(id)".to_owned())];
        let text = "# syntax=x\nARG V=1\nFROM a \\\n  AS one\nRUN <<E\nFROM no\nE\nfrom b\nCMD x\n";
        let mark = "LABEL \"a.b\"=\"x\" \"c\"=\"1(id)\"";
        assert_eq!(
            mark_stages(text, &labels),
            format!(
                "# syntax=x\nARG V=1\nFROM a \\\n  AS one\n{mark}\nRUN <<E\nFROM no\nE\nfrom b\n{mark}\nCMD x\n"
            )
        );
        assert_eq!(mark_stages("FROM a", &labels), format!("FROM a\n{mark}"));
        for same in ["", "RUN x", "FROM a\nRUN <<E\nnever ends"] {
            assert_eq!(mark_stages(same, &labels), same);
        }
        assert_eq!(mark_stages(text, &[]), text);
    }
}

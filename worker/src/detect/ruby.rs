//! Ruby: Gemfile and config.ru.

use std::sync::LazyLock;

use deploymind_shared::error::Error;
use regex::Regex;

use super::draft::{Draft, Look, Rank, argv};
use super::manifest;
use super::model::{Language, PackageManager};
use super::ports::{self, pattern};
use super::tree::clip;

static GEM: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?m)^[ \t]*gem[ \t(]+['"](rails|sinatra|rack|puma|hanami|roda)['"](?:[ \t]*,[ \t]*['"]([^'"\n]*)['"])?"#,
    )
});
static RUBY: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?m)^[ \t]*ruby[ \t(]+['"]([^'"\n]+)['"]"#));
static SINATRA: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(?m)^[ \t]*require[ \t(]+['"]sinatra(?:/base)?['"]"#));

const SCRIPTS: &[&str] = &["app.rb", "server.rb", "main.rb", "web.rb", "application.rb"];

pub(super) fn look(look: &Look<'_>) -> Result<Option<Draft>, Error> {
    let tree = look.tree;
    let gemfile = tree.text("Gemfile")?;
    let rack = tree.is_file("config.ru");
    if gemfile.is_none() && !rack {
        return Ok(None);
    }
    let mut draft = Draft::new(Language::Ruby);
    let text = gemfile.unwrap_or_default();
    if text.is_empty() {
        draft.because("config.ru", "starts a Rack app");
    } else {
        draft.because("Gemfile", "is the manifest of a Ruby program");
        draft.found.package_manager = Some(PackageManager::Bundler);
        draft.found.locked = tree.is_file("Gemfile.lock");
    }
    let pins = [
        (".ruby-version", tree.line(".ruby-version")),
        (".tool-versions", manifest::tool_version(tree, &["ruby"])),
        ("Gemfile", RUBY.captures(&text).and_then(|it| Some(it.get(1)?.as_str().to_owned()))),
    ];
    if let Some((file, Some(pinned))) = pins.iter().find(|it| it.1.is_some()) {
        draft.version(file, pinned.strip_prefix("ruby-").unwrap_or(pinned));
    }

    let gems: Vec<(&str, &str)> = GEM
        .captures_iter(&text)
        .filter_map(|it| Some((it.get(1)?.as_str(), it.get(2).map_or("", |it| it.as_str()))))
        .collect();
    let framework =
        ["rails", "hanami", "sinatra", "roda"].into_iter().find_map(|it| gems.iter().find(|gem| gem.0 == it));
    if let Some((name, version)) = framework {
        draft.framework(name, "Gemfile", format!("lists the gem {name} {}", clip(version)).trim_end());
    } else if rack {
        draft.framework("rack", "config.ru", "starts a Rack app");
    }
    let name = draft.found.framework.clone().unwrap_or_default();
    let default = match name.as_str() {
        "rails" => 3000,
        "sinatra" => 4567,
        "hanami" => 2300,
        _ => 9292,
    };
    let sources = ["config/puma.rb", "app.rb", "server.rb", "main.rb", "web.rb", "config.ru"];
    let said = ports::in_source(tree, Language::Ruby, &sources);
    let port = draft.port(look, said, Some(default)).unwrap_or(default).to_string();

    let script = tree.first(SCRIPTS);
    let own = if name == "rails" {
        draft.found.entry_point = Some("config.ru".into());
        Some(("Gemfile", argv(&["bundle", "exec", "rails", "server", "-b", "0.0.0.0", "-p", &port])))
    } else if rack {
        draft.found.entry_point = Some("config.ru".into());
        let puma = gems.iter().any(|it| it.0 == "puma");
        let bind = format!("tcp://0.0.0.0:{port}");
        let words: &[&str] = if puma {
            &["bundle", "exec", "puma", "-b", &bind]
        } else {
            &["bundle", "exec", "rackup", "--host", "0.0.0.0", "--port", &port]
        };
        let words = if draft.found.package_manager.is_none() { &words[2..] } else { words };
        Some(("config.ru", argv(words)))
    } else if let Some(script) = script {
        draft.found.entry_point = Some(script.into());
        let classic = tree.source(script).is_some_and(|it| SINATRA.is_match(&it));
        let mut words = argv(&["bundle", "exec", "ruby", script]);
        if classic {
            words.extend(argv(&["-o", "0.0.0.0", "-p", &port]));
        }
        Some((script, words))
    } else {
        None
    };
    if own.is_some() {
        draft.at_least(Rank::Starts);
    }
    draft.start(look, own.map(|(file, words)| (file.to_owned(), words)));
    Ok(Some(draft))
}

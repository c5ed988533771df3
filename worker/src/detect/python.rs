//! Python: what is needed says the framework, the sources say where the app object is.

use deploymind_shared::error::Error;

use super::draft::{Draft, Look, argv};
use super::model::Language;
use super::ports;
use super::python_app::{self, App, Django};
use super::python_manifest::{self, Manifests};
use super::tree::clip;

/// Package, which is also the framework, and its port.
const FRAMEWORKS: &[(&str, u16)] =
    &[("django", 8000), ("fastapi", 8000), ("flask", 5000), ("starlette", 8000), ("tornado", 8888)];

pub(super) fn look(look: &Look<'_>) -> Result<Option<Draft>, Error> {
    let tree = look.tree;
    let manifests = python_manifest::read(tree)?;
    let file = manifests.file(tree).or_else(|| tree.first(&["main.py", "app.py"]));
    let Some(file) = file else { return Ok(None) };
    let mut draft = Draft::new(Language::Python);
    draft.because(file, "belongs to a Python program");
    manifests.version(tree, &mut draft);
    manifests.manager(tree, &mut draft);

    let framework = FRAMEWORKS.iter().find_map(|it| Some((it, manifests.needs.get(it.0)?)));
    let django = match framework {
        Some((("django", _), _)) | None => python_app::django(tree),
        Some(_) => None,
    };
    // Its own script says Django even where the requirements are kept elsewhere.
    let framework = framework
        .map(|((name, port), (file, line))| {
            (*name, *port, file.as_str(), format!("requires {:?}", clip(line)))
        })
        .or_else(|| {
            Some(("django", 8000, "manage.py", "names the settings of a Django project".into()))
                .filter(|_| django.is_some())
        });
    let Some((name, default, file, says)) = framework else {
        let script = python_app::script(tree, None);
        let said =
            ports::in_source(tree, Language::Python, &script.iter().map(String::as_str).collect::<Vec<_>>());
        draft.port(look, said, None);
        draft.found.entry_point = script.clone();
        draft.start(look, script.map(|it| (it.clone(), argv(&["python", &it]))));
        return Ok(Some(draft));
    };
    draft.framework(name, file, says);

    if name == "django" {
        let port = draft.port(look, None, Some(default)).unwrap_or(default);
        let start = django.map(|it| django_start(&mut draft, &manifests, &it, port));
        draft.start(look, start);
        return Ok(Some(draft));
    }

    let app = (name != "tornado").then(|| python_app::find(tree, name)).flatten();
    let script = python_app::script(tree, Some(name));
    let mut sources: Vec<&str> = app.iter().map(|it| it.file.as_str()).collect();
    sources.extend(script.as_deref());
    sources.extend(["main.py", "app.py", "run.py", "server.py"]);
    let said = ports::in_source(tree, Language::Python, &sources);
    let port = draft.port(look, said, Some(default)).unwrap_or(default);

    let served = app.and_then(|app| {
        let argv = if name == "flask" { wsgi(&manifests, &app, port) } else { asgi(&manifests, &app, port)? };
        Some((app, argv))
    });
    if let Some((app, argv)) = served {
        draft.found.entry_point = Some(app.entry());
        draft.because(&app.file, format!("defines {}", app.entry()));
        draft.start(look, Some((app.file, argv)));
    } else {
        draft.found.entry_point = script.clone();
        draft.start(look, script.map(|it| (it.clone(), argv(&["python", &it]))));
    }
    Ok(Some(draft))
}

fn bind(port: u16) -> String {
    format!("0.0.0.0:{port}")
}

fn with_folder(mut argv: Vec<String>, option: &str, folder: &str) -> Vec<String> {
    if !folder.is_empty() {
        argv.splice(1..1, [option.to_owned(), folder.to_owned()]);
    }
    argv
}

fn wsgi(manifests: &Manifests, app: &App, port: u16) -> Vec<String> {
    let entry = if app.factory { format!("{}()", app.entry()) } else { app.entry() };
    if manifests.needs.contains_key("gunicorn") {
        return with_folder(argv(&["gunicorn", "--bind", &bind(port), &entry]), "--chdir", &app.folder);
    }
    // Flask's own server is always there.
    let folder = if app.folder.is_empty() { String::new() } else { format!("{}/", app.folder) };
    let target = format!("{folder}{}", app.entry());
    argv(&["flask", "--app", &target, "run", "--host", "0.0.0.0", "--port", &port.to_string()])
}

fn asgi(manifests: &Manifests, app: &App, port: u16) -> Option<Vec<String>> {
    let entry = app.entry();
    let has = |name: &str| manifests.needs.contains_key(name);
    if has("uvicorn") {
        let mut words = argv(&["uvicorn", &entry, "--host", "0.0.0.0", "--port", &port.to_string()]);
        if app.factory {
            words.push("--factory".into());
        }
        return Some(with_folder(words, "--app-dir", &app.folder));
    }
    if has("hypercorn") && app.folder.is_empty() {
        let entry = if app.factory { format!("{entry}()") } else { entry };
        return Some(argv(&["hypercorn", "--bind", &bind(port), &entry]));
    }
    None
}

fn django_start(
    draft: &mut Draft,
    manifests: &Manifests,
    django: &Django,
    port: u16,
) -> (String, Vec<String>) {
    let has = |name: &str| manifests.needs.contains_key(name);
    let entry = |module: &str| format!("{module}:application");
    let (entry, words) = match (&django.wsgi, &django.asgi) {
        (Some(wsgi), _) if has("gunicorn") => {
            let words = argv(&["gunicorn", "--bind", &bind(port), &entry(wsgi)]);
            (entry(wsgi), with_folder(words, "--chdir", &django.folder))
        }
        (_, Some(asgi)) if has("uvicorn") => {
            let words = argv(&["uvicorn", &entry(asgi), "--host", "0.0.0.0", "--port", &port.to_string()]);
            (entry(asgi), with_folder(words, "--app-dir", &django.folder))
        }
        (_, Some(asgi)) if has("daphne") && django.folder.is_empty() => {
            (entry(asgi), argv(&["daphne", "-b", "0.0.0.0", "-p", &port.to_string(), &entry(asgi)]))
        }
        (wsgi, _) => {
            let at = wsgi.as_deref().map_or_else(|| django.manage.clone(), entry);
            (at, argv(&["python", &django.manage, "runserver", &bind(port)]))
        }
    };
    draft.found.entry_point = Some(entry);
    (django.manage.clone(), words)
}
